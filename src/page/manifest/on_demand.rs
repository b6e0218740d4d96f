//! Nanoservices that run on demand: `command`, `path` and `[run]`.
//! A program that would lie outside the manifest's folder is refused, unless its absolute path is given.

use crate::page::policy::supervision::program::RunRules;
use crate::page::source::names::Name;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::secret::{self, Reference};
use crate::page::source::table::{self, Data, TableReader, Value, ValueError};

use super::Endpoint;

/// The name of the variable that states the port, which `[run] env` cannot set.
pub const PORT: &str = "PORT";
/// The word for a program that is ready once its port accepts connections.
const TCP: &str = "tcp";

schema! {
    /// How a program is run. Belongs to `command`.
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
        /// Maximum memory of all its processes together. It is killed if it takes more.
        MEMORY = Field::new("memory", Kind::PositiveSize).example("\"256MiB\"");
        /// Environment variables: texts, or references to secrets (`env:NAME`, `file:PATH`).
        ENV = Field::new("env", Kind::Map("NAME", &Kind::Text)).example("{ API_KEY = \"env:KEY\", MODE = \"fast\" }");
    }
}

/// What runs on demand.
#[derive(Debug, Clone, PartialEq)]
pub enum OnDemand {
    /// A program, which is started when a page first needs it.
    Program(Box<Program>),
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
}

impl OnDemand {
    /// What it is asked, with a host that stands for it.
    #[must_use]
    pub const fn path(&self) -> &Endpoint {
        match self {
            Self::Program(program) => &program.path,
        }
    }
}

impl Program {
    pub(super) fn new(command: Vec<String>, path: Endpoint, upstream: String, run: Run) -> Self {
        let Run { rules, ready, memory, env } = run;
        Self { command, path, upstream: Name::from(upstream), rules, ready, memory, env }
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
        if name == PORT {
            let message = format!("`{field}.{PORT}` cannot be set: the compositor chooses the port at each start");
            reader.note(entry.key_at.clone(), message, Some("remove it".to_owned()));
        } else if name.is_empty() || name.contains(['=', '\0']) {
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
