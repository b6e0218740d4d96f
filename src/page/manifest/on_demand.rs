//! Nanoservices that run on demand: `command` or `component`, `path` and `[run]`.
//! What would lie outside the manifest's folder is refused, unless its absolute path is given.

use crate::page::policy::supervision::program::RunRules;
use crate::page::source::names::Name;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::secret::{self, Reference};
use crate::page::source::table::{self, Data, TableReader, Value, ValueError};

use super::Endpoint;
use super::schema::file;
use super::upstreams::Allowed;

/// The name of the variable that states the port, which `[run] env` cannot set.
pub const PORT: &str = "PORT";
/// The word for a program that is ready once its port accepts connections.
const TCP: &str = "tcp";
/// Maximum memory of a component if its manifest states none, in bytes.
const COMPONENT_MEMORY: u64 = 64 << 20;

schema! {
    /// How a program or a component is run. `memory` and `env` are for both, `outbound` is for components, and all others
    /// are for programs.
    pub(crate) mod run {
        /// The program is stopped after this long without a request. `0s`: never.
        IDLE = Field::new("idle", Kind::Duration).default("5m");
        /// Longest time from its start until it is ready.
        START_TIMEOUT = Field::new("start_timeout", Kind::PositiveDuration).default("10s");
        /// Longest time from SIGTERM until it is killed.
        STOP_TIMEOUT = Field::new("stop_timeout", Kind::Duration).default("10s");
        /// How many processes run even if nobody requests them. `1`: it is started with the compositor, and started
        /// again at once if it ends.
        MIN = Field::new("min", Kind::Integer(0, 1)).default("0");
        /// When it is ready: `tcp` once its port accepts connections, or a path, once a `GET` of it has a status from
        /// 100 to 499.
        READY = Field::new("ready", Kind::Text).default(TCP).example("\"/healthz\"");
        /// Maximum memory: of all processes of a program together, or of a component for one request. What takes more is
        /// ended, and its requests fail as `crashed`.
        MEMORY = Field::new("memory", Kind::PositiveSize)
            .otherwise("none for programs, `64MiB` for components")
            .example("\"256MiB\"");
        /// Environment variables: texts, or references to secrets (`env:NAME`, `file:PATH`).
        ENV = Field::new("env", Kind::Map("NAME", &Kind::Text)).example("{ API_KEY = \"env:KEY\", MODE = \"fast\" }");
        /// The hosts that a component may send requests to: scheme, host and port, where `*` is any port. A name that
        /// resolves to an address that is not public needs the setting `upstreams.private` as well.
        OUTBOUND = Field::new("outbound", Kind::List(&Kind::Upstream))
            .default("[]")
            .example("[\"https://api.example.org\"]");
    }
}

/// What runs on demand.
#[derive(Debug, Clone, PartialEq)]
pub enum OnDemand {
    /// A program, which is started when a page first needs it.
    Program(Box<Program>),
    /// A WebAssembly component, which runs in the compositor, in a fresh instance for each request.
    Component(Box<Component>),
}

/// A program that answers requests on a port.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The program and its arguments; not empty.
    pub command: Vec<String>,
    /// What it is asked. Its host stands for the program, which has no address until it runs.
    pub path: Endpoint,
    /// The name by which its requests, circuit and latency are counted.
    pub upstream: Name,
    /// When it is started and stopped.
    pub rules: RunRules,
    /// When it is ready.
    pub ready: Ready,
    /// Maximum memory of all its processes together, in bytes.
    pub memory: Option<u64>,
    /// Its environment variables, beside those that every program has.
    pub env: Vec<(String, EnvValue)>,
}

/// A component that answers requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its file: absolute, or relative to the manifest's folder.
    pub file: String,
    /// A hash of what the file contains. `None`: the file was not read.
    pub content: Option<u128>,
    /// What it is asked. Its host stands for the component.
    pub path: Endpoint,
    /// The name by which its requests, circuit and latency are counted.
    pub upstream: Name,
    /// Maximum memory of one instance, in bytes.
    pub memory: u64,
    /// Its environment variables.
    pub env: Vec<(String, EnvValue)>,
    /// The hosts that it may send requests to.
    pub outbound: Vec<Allowed>,
}

/// When a program is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// Once its port accepts connections.
    Tcp,
    /// Once this path is answered.
    Path(String),
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// As it is written.
    Text(String),
    /// A secret, which is looked up when the program is started.
    Reference(Reference),
}

/// The keys of `[run]`.
pub(super) struct Run {
    rules: RunRules,
    ready: Ready,
    memory: Option<u64>,
    env: Vec<(String, EnvValue)>,
    outbound: Vec<Allowed>,
}

/// What `command` or `component` states.
pub(super) enum Runnable {
    Command(Vec<String>),
    Component(String),
}

impl OnDemand {
    /// What it is asked, with a host that stands for it.
    #[must_use]
    pub const fn path(&self) -> &Endpoint {
        match self {
            Self::Program(program) => &program.path,
            Self::Component(component) => &component.path,
        }
    }

    /// The name by which its requests, circuit and latency are counted.
    #[must_use]
    pub const fn upstream(&self) -> &Name {
        match self {
            Self::Program(program) => &program.upstream,
            Self::Component(component) => &component.upstream,
        }
    }

    /// `called` is its name and version.
    pub(super) fn new(runnable: Runnable, path: Endpoint, called: &str, run: Run) -> Self {
        let Run { rules, ready, memory, env, outbound } = run;
        match runnable {
            Runnable::Command(command) => {
                let upstream = Name::from(format!("program:{called}"));
                Self::Program(Box::new(Program { command, path, upstream, rules, ready, memory, env }))
            }
            Runnable::Component(file) => {
                let (upstream, memory) =
                    (Name::from(format!("component:{called}")), memory.unwrap_or(COMPONENT_MEMORY));
                Self::Component(Box::new(Component { file, content: None, path, upstream, memory, env, outbound }))
            }
        }
    }
}

/// Reads `command`.
pub(super) fn command(value: &Value) -> Result<Vec<String>, ValueError> {
    let command = table::list(argument)(value)?;
    let Some(program) = command.first().filter(|program| !program.trim().is_empty()) else {
        return Err(ValueError::with_help("must name a program", "write it like [\"python3\", \"weather.py\"]"));
    };
    if secret::leaves(program) {
        return Err(ValueError::with_help(
            format!("`{program}` leads out of the folder of the manifest"),
            "put the program into this folder, or write its absolute path",
        ));
    }
    Ok(command)
}

/// Reads `component`.
pub(super) fn component(value: &Value) -> Result<String, ValueError> {
    let file = without_nul(table::filled(value)?)?;
    if secret::leaves(&file) {
        return Err(ValueError::with_help(
            format!("`{file}` leads out of the folder of the manifest"),
            "put the component into this folder, or write its absolute path",
        ));
    }
    Ok(file)
}

fn argument(value: &Value) -> Result<String, ValueError> {
    without_nul(table::text(value)?)
}

fn without_nul(text: String) -> Result<String, ValueError> {
    if text.contains('\0') { Err(ValueError::new("must not contain a NUL character")) } else { Ok(text) }
}

/// Reads `[run]`.
pub(super) fn run(reader: &mut TableReader<'_>) -> Run {
    let idle = reader.read_or_default(&run::IDLE, table::duration);
    Run {
        rules: RunRules {
            idle: (!idle.is_zero()).then_some(idle),
            start_timeout: reader.read_or_default(&run::START_TIMEOUT, table::positive_duration),
            stop_timeout: reader.read_or_default(&run::STOP_TIMEOUT, table::duration),
            is_kept: reader.integer_or_default::<u8>(&run::MIN) == 1,
        },
        ready: reader.read_or_default(&run::READY, ready),
        memory: reader.read(&run::MEMORY, table::positive_size),
        env: env(reader),
        outbound: reader.read_or_default(&run::OUTBOUND, table::list(|value| Ok(table::text(value)?.parse()?))),
    }
}

/// Reports keys of what runs on demand beside an `endpoint`.
pub(super) fn misplaced(reader: &mut TableReader<'_>) {
    if reader.entry(&file::ENDPOINT).is_none() {
        return;
    }
    for (field, help) in [
        (&file::PATH, "write the path into the URL of `endpoint`"),
        (&file::RUN, "the compositor does not start what has an `endpoint`; remove the table"),
    ] {
        if let Some(entry) = reader.entry(field) {
            let message = format!("`{}` does not belong to `endpoint`", field.name);
            reader.note(entry.key_at.clone(), message, Some(help.to_owned()));
        }
    }
}

/// Reports keys of `[run]` that belong to programs beside a `component`, and those that belong to components beside a
/// `command`.
pub(super) fn misplaced_in_run(reader: &mut TableReader<'_>, runnable: Option<&Runnable>) {
    let (other, fields, help): (_, &[&'static Field], _) = match runnable {
        None => return,
        Some(Runnable::Command(_)) => {
            (&file::COMMAND, &[&run::OUTBOUND], "a program may connect wherever the compositor's user may; remove it")
        }
        Some(Runnable::Component(_)) => (
            &file::COMPONENT,
            &[&run::IDLE, &run::START_TIMEOUT, &run::STOP_TIMEOUT, &run::MIN, &run::READY],
            "a component is neither started nor stopped: each request has an instance of its own; remove it",
        ),
    };
    for field in fields {
        let Some(entry) = reader.entry(field) else { continue };
        let message = format!("`{}.{}` does not belong to `{}`", file::RUN.name, entry.key, other.name);
        reader.note(entry.key_at.clone(), message, Some(help.to_owned()));
    }
    // The port is a variable like any other for what listens on none.
    if matches!(runnable, Some(Runnable::Command(_)))
        && let Some(Data::Table(env)) = reader.entry(&run::ENV).map(|entry| &entry.value.data)
        && let Some(entry) = env.entries.iter().find(|entry| entry.key == PORT)
    {
        let message =
            format!("`{}.{PORT}` cannot be set: the compositor chooses the port at each start", run::ENV.name);
        reader.note(entry.key_at.clone(), message, Some("remove it".to_owned()));
    }
}

fn ready(value: &Value) -> Result<Ready, ValueError> {
    match table::filled(value)?.as_str() {
        TCP => Ok(Ready::Tcp),
        path if path.starts_with('/') && !path.contains(|c: char| c.is_control() || c == ' ') => {
            Ok(Ready::Path(path.to_owned()))
        }
        other => {
            let message = format!("`{other}` is neither `{TCP}` nor a path");
            Err(ValueError::with_help(message, "a path begins with `/`: \"/healthz\""))
        }
    }
}

/// Reads `env`, in which every key is the name of a variable.
fn env(reader: &mut TableReader<'_>) -> Vec<(String, EnvValue)> {
    let Some(entry) = reader.entry(&run::ENV) else { return Vec::new() };
    let field = run::ENV.name;
    let Data::Table(table) = &entry.value.data else {
        let help = "write `env = { MODE = \"fast\" }`".to_owned();
        reader.note(entry.value.at.clone(), format!("`{field}` must be a table"), Some(help));
        return Vec::new();
    };
    let mut all = Vec::new();
    for entry in &table.entries {
        let name = &entry.key;
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("`{}` is not a valid name of an environment variable", name.escape_debug());
            reader.note(entry.key_at.clone(), message, None);
        } else {
            match env_value(&entry.value) {
                Ok(value) => all.push((name.clone(), value)),
                Err(error) => {
                    let message = format!("`{field}.{name}`: {}", error.message);
                    reader.note(entry.value.at.clone(), message, error.help);
                }
            }
        }
    }
    all
}

fn env_value(value: &Value) -> Result<EnvValue, ValueError> {
    let text = without_nul(table::text(value)?)?;
    if text.starts_with("env:") || text.starts_with("file:") {
        return Reference::read(value).map(EnvValue::Reference);
    }
    Ok(EnvValue::Text(text))
}
