//! Whole manifests, and their errors.

use super::*;
use crate::page::source::diagnostic::Source;
use crate::page::source::schema::check::toml_fields;

fn parse(text: &str) -> (Option<Manifest>, Vec<(usize, usize, String)>) {
    let (manifest, problems) = Manifest::parse(&Source::new("fragments/x/fragment.toml", text));
    let shown = problems
        .iter()
        .map(|d| {
            let (line, column) = d.at.source.position(d.at.span.start);
            (line, column, format!("{}: {} ({})", d.code.as_str(), d.message, d.help.clone().unwrap_or_default()))
        })
        .collect();
    (manifest, shown)
}

/// The example of the contract, with all its keys.
const WHOLE: &str = r#"
name = "weather"
version = "3.1.0"
owner = "team-weather"
endpoint = ["http://127.0.0.1:9102/weather/{city}", "http://127.0.0.1:9103/weather/{city}"]
lifecycle = "production"
runbook = "https://example.org/runbooks/weather"
context = ["locale", "region", "cookie:units", "header:X-Plan"]
composes = ["icon"]
cookies = []
esi = false
html = "balanced"

[params.city]
type = "string"
pattern = "[a-z-]+"
required = true
[params.days]
type = "integer"
minimum = 1
maximum = 7
[params.units]
enum = ["metric", "imperial"]

[cache]
ttl = "60s"
stale_while_revalidate = "10m"
stale_if_error = "1d"
max_ttl = "10m"

[limits]
timeout = "300ms"
max_bytes = "256KiB"
concurrency = 64

[auth]
kind = "none"

[[assets]]
rel = "stylesheet"
href = "/assets/weather.css"

[[examples]]
name = "London"
params = { city = "london" }
"#;

#[test]
fn the_whole_example_is_read() {
    let (manifest, problems) = parse(WHOLE);
    assert_eq!(problems, []);
    let manifest = manifest.expect("a manifest");
    assert_eq!(manifest.cache.ttl, Some(Duration::from_mins(1)));
    assert_eq!(manifest.limits.max_bytes, Some(256 << 10));
    assert_eq!(manifest.context[3], Dimension::Header("x-plan".into()));
    let params =
        |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    let endpoint = &manifest.endpoints[0];
    assert_eq!(
        endpoint.url(&params(&[("days", "3"), ("city", "são/paulo"), ("q", "a b&c")])).as_ref().map(url::Url::as_str),
        Some("http://127.0.0.1:9102/weather/s%C3%A3o%2Fpaulo?days=3&q=a%20b%26c")
    );
    assert_eq!(endpoint.url(&params(&[("days", "3")])), None);
    assert_eq!(endpoint.url(&params(&[("city", "..")])), None);
    assert_eq!(endpoint.origin(), "http://127.0.0.1:9102");
    let check =
        |name: &str, value| manifest.params.iter().find(|p| p.name == name).expect("declared").check(value).is_ok();
    assert!(check("city", "new-york") && !check("city", "New York") && !check("city", "a\nb"));
    assert!(check("days", "7") && !check("days", "8") && !check("days", "x") && !check("days", "1.5"));
    assert!(check("units", "metric") && !check("units", "kelvin"));
}

#[test]
fn all_errors_are_reported_with_their_places_and_help() {
    let (manifest, problems) = parse(
        "name = \"we ather\"\nversion = \"3\"\nendpoint = \"/weather\"\nlifecycle = \"prodution\"\n\
         contxt = []\n[cache]\nttl = 60\n[auth]\nkind = \"bearer\"\ntoken = \"s3cret\"\n",
    );
    assert!(manifest.is_none());
    let at: Vec<(usize, usize)> = problems.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(at, [(1, 8), (2, 11), (3, 12), (4, 13), (7, 7), (10, 9), (5, 1)], "{problems:#?}");
    assert!(problems[3].2.contains("did you mean `production`?"));
    assert!(problems[6].2.contains("did you mean `context`?"));
    assert!(problems.iter().all(|(_, _, text)| !text.contains("s3cret")), "a secret is not repeated");
}

#[test]
fn missing_keys_are_named() {
    let (_, problems) = parse("owner = \"team\"\n");
    let messages: Vec<_> = problems.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].contains("`name` is missing") && messages[2].contains("how the nanoservice is reached"));
}

#[test]
fn values_that_can_never_apply_are_errors() {
    const HEAD: &str = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a/{x}\"\n";
    for (lines, line) in [
        ("[params.x]\n[limits]\ntimeout = \"0s\"\n", 6),
        ("[params.x]\n[limits]\nmax_bytes = \"0\"\n", 6),
        ("[params.x]\n[cache]\nttl = \"2m\"\nmax_ttl = \"1m\"\n", 6),
        ("[params.x]\ntype = \"integer\"\nminimum = 2\nmaximum = 1\n", 6),
        ("[params.x]\ntype = \"number\"\nminimum = nan\n", 6),
        ("[params.x]\nenum = []\n", 5),
        ("[params.x]\npattern = \"a)|(b\"\n", 5),
        ("[params.x]\n[params.City]\n", 5),
        ("[params.x]\n[params.\"a b\"]\n", 5),
        ("[params.y]\n", 3),
        ("cookies = [\"a b\"]\n", 4),
        ("context = [\"cookie:a=b\"]\n", 4),
    ] {
        let (manifest, problems) = parse(&format!("{HEAD}{lines}"));
        let lines: Vec<_> = problems.iter().map(|(line, _, _)| *line).collect();
        assert_eq!(lines, [line], "{lines:?} {problems:#?}");
        assert!(manifest.is_none());
    }
    let (manifest, _) = parse(HEAD);
    assert_eq!(manifest.expect("if none is declared, any may be named").required(), ["x"]);
}

#[test]
fn every_key_is_read_as_its_schema_states() {
    toml_fields(&schema::file::SCHEMA, |text| Manifest::parse(&Source::new("fragment.toml", text)).1);
}

#[test]
fn a_program_has_the_rules_that_its_manifest_states_or_the_defaults() {
    let head = "name = \"a\"\nversion = \"1.2.0\"\ncommand = [\"python3\", \"a.py\"]\n";
    let (manifest, problems) = parse(head);
    assert_eq!(problems, []);
    let manifest = manifest.expect("it is valid");
    let program = manifest.program().expect("it is a program");
    assert_eq!((&*program.upstream, program.path.parameters().len()), ("program:a@1.2.0", 0));
    assert_eq!((program.rules.idle, program.rules.is_kept), (Some(Duration::from_secs(300)), false));
    assert_eq!((&program.ready, program.memory), (&on_demand::Ready::Tcp, None));
    let run = "path = \"/{x}?y=1\"\n[run]\nidle = \"0s\"\nmin = 1\nready = \"/up\"\nmemory = \"1MiB\"\n\
               env = { A = \"env:B\", C = \"d\" }\n";
    let (manifest, problems) = parse(&format!("{head}{run}"));
    assert_eq!(problems, []);
    let manifest = manifest.expect("it is valid");
    let program = manifest.program().expect("it is a program");
    assert_eq!((program.rules.idle, program.rules.is_kept, program.memory), (None, true, Some(1 << 20)));
    assert_eq!(program.ready, on_demand::Ready::Path("/up".to_owned()));
    assert_eq!((program.env.len(), manifest.required()), (2, vec!["x"]));
    assert!(manifest.endpoints.is_empty() && manifest.base().is_some());
    let public = manifest.to_json();
    assert_eq!(public, serde_json::json!({"name": "a", "version": "1.2.0"}), "the catalogue is public");
}

#[test]
fn what_a_program_cannot_be_started_with_is_an_error() {
    let program = "command = [\"a\"]\n";
    for (lines, expected) in [
        ("endpoint = \"http://a/\"\npath = \"/x\"\n".to_owned(), "`path` does not belong to `endpoint`"),
        ("endpoint = \"http://a/\"\n[run]\n".to_owned(), "`run` does not belong to `endpoint`"),
        ("endpoint = \"http://a/\"\ncommand = [\"a\"]\n".to_owned(), "exclude each other"),
        ("command = []\n".to_owned(), "must name a program"),
        ("command = [\"../a\"]\n".to_owned(), "leads out of the folder"),
        ("command = [\"a/../../b\"]\n".to_owned(), "leads out of the folder"),
        ("command = [\"a\", \"b\\u0000\"]\n".to_owned(), "NUL"),
        (format!("{program}path = \"x\"\n"), "is not a path"),
        (format!("{program}path = \"/{{y}}\"\n[params.x]\n"), "is not a declared parameter"),
        (format!("{program}[run]\nstart_timeout = \"0s\"\n"), "must not be zero"),
        (format!("{program}[run]\nmin = 2\n"), "from 0 to 1"),
        (format!("{program}[run]\nready = \"udp\"\n"), "neither `tcp` nor a path"),
        (format!("{program}[run]\nenv = {{ PORT = \"1\" }}\n"), "`env.PORT` cannot be set"),
        (format!("{program}[run]\nenv = {{ A = 1 }}\n"), "`env.A`: must be a string"),
        (format!("{program}[run]\nenv = {{ A = \"file:../x\" }}\n"), "leads out of the site"),
        (format!("{program}[run]\nenv = {{ \"A=B\" = \"1\" }}\n"), "is not a valid name"),
        (format!("{program}[run]\nidel = \"1s\"\n"), "unknown key `idel`"),
        (format!("{program}[auth]\nkind = \"mtls\"\ncert = \"file:a\"\nkey = \"file:b\"\n"), "over https only"),
    ] {
        let (manifest, problems) = parse(&format!("name = \"a\"\nversion = \"1.0.0\"\n{lines}"));
        assert!(
            manifest.is_none() && problems.iter().any(|(_, _, text)| text.contains(expected)),
            "{lines}: {problems:?}"
        );
    }
}

#[test]
fn a_component_has_the_rules_that_its_manifest_states_or_the_defaults() {
    let head = "name = \"a\"\nversion = \"1.2.0\"\ncomponent = \"a.wasm\"\n";
    let (manifest, problems) = parse(head);
    assert_eq!(problems, []);
    let manifest = manifest.expect("it is valid");
    let component = manifest.component().expect("it is a component");
    assert_eq!((&*component.upstream, &*component.file, component.memory), ("component:a@1.2.0", "a.wasm", 64 << 20));
    assert!(component.outbound.is_empty() && manifest.program().is_none());
    let run = "path = \"/{x}\"\n[run]\nmemory = \"1MiB\"\nenv = { PORT = \"env:B\" }\n\
               outbound = [\"https://api.example.org\", \"http://127.0.0.1:*\"]\n";
    let (manifest, problems) = parse(&format!("{head}{run}"));
    assert_eq!(problems, []);
    let manifest = manifest.expect("it is valid");
    let component = manifest.component().expect("it is a component");
    assert_eq!((component.memory, component.env.len(), component.outbound.len()), (1 << 20, 1, 2));
    assert_eq!(manifest.required(), ["x"]);
    let public = manifest.to_json();
    assert_eq!(public, serde_json::json!({"name": "a", "version": "1.2.0"}), "the catalogue is public");
}

#[test]
fn what_a_component_cannot_be_run_with_is_an_error() {
    let component = "component = \"a.wasm\"\n";
    for (lines, expected) in [
        (format!("{component}command = [\"a\"]\n"), "exclude each other"),
        (format!("{component}endpoint = \"http://a/\"\n"), "exclude each other"),
        ("component = \"\"\n".to_owned(), "must not be empty"),
        ("component = \"../a.wasm\"\n".to_owned(), "leads out of the folder"),
        (format!("{component}[run]\nidle = \"1s\"\n"), "`run.idle` does not belong to `component`"),
        (format!("{component}[run]\nmin = 0\n"), "`run.min` does not belong to `component`"),
        (format!("{component}[run]\nready = \"tcp\"\n"), "`run.ready` does not belong to `component`"),
        (format!("{component}[run]\nstart_timeout = \"1s\"\n"), "`run.start_timeout` does not belong"),
        (format!("{component}[run]\nstop_timeout = \"1s\"\n"), "`run.stop_timeout` does not belong"),
        ("command = [\"a\"]\n[run]\noutbound = []\n".to_owned(), "`run.outbound` does not belong to `command`"),
        (format!("{component}[run]\noutbound = [\"api.example.org\"]\n"), "is not of the form"),
        (format!("{component}[run]\nmemory = \"0\"\n"), "memory"),
        (format!("{component}[auth]\nkind = \"mtls\"\ncert = \"file:a\"\nkey = \"file:b\"\n"), "over https only"),
    ] {
        let (manifest, problems) = parse(&format!("name = \"a\"\nversion = \"1.0.0\"\n{lines}"));
        assert!(
            manifest.is_none() && problems.iter().any(|(_, _, text)| text.contains(expected)),
            "{lines}: {problems:?}"
        );
    }
}
