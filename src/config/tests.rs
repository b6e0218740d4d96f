//! Settings from files, the environment and flags, with their errors.

use super::*;
use crate::page::source::schema::check::toml_fields;

fn load(text: &str, environment: &[(&str, &str)]) -> (Settings, Vec<(String, usize, usize, String)>) {
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let (settings, problems) =
        Settings::load(Path::new(""), Some(&Source::new("pasteup.toml", text)), environment, Flags::default());
    let shown = problems
        .into_iter()
        .map(|d| {
            let (line, column) = d.at.source.position(d.at.span.start);
            (d.at.source.file.clone(), line, column, format!("{} {:?}", d.message, d.help))
        })
        .collect();
    (settings, shown)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let (settings, problems) = load("", &[]);
    assert_eq!(problems, []);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.cache_memory, 256 << 20);
    assert_eq!(settings.defaults, Defaults::default());
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n[page]\nbudget = \"3s\"\n";
    let variables = [
        ("PASTEUP_SERVER__LISTEN", "127.0.0.1:2"),
        ("PASTEUP_FRAGMENT__TIMEOUT", "5s"),
        ("PASTEUP_UPSTREAMS__ALLOW", "[\"http://127.0.0.1:*\"]"),
        ("PASTEUP_UPSTREAMS__PRIVATE", "true"),
        ("HOME", "/"),
    ];
    let (settings, problems) = load(file, &variables);
    assert_eq!(problems, []);
    assert_eq!(settings.server.listen.port(), 2);
    assert_eq!(settings.defaults.timeout, Duration::from_secs(5));
    assert_eq!(settings.defaults.budget, Duration::from_secs(3));
    assert!(settings.private_upstreams && settings.limits.allowed.len() == 1);
    let flags = Flags { listen: "127.0.0.1:3".parse().ok(), admin: None };
    let (settings, _) =
        Settings::load(Path::new(""), None, variables.map(|(n, v)| (n.to_owned(), v.to_owned())), flags);
    assert_eq!(settings.server.listen.port(), 3);
}

#[test]
fn a_discovery_source_is_a_url_or_a_table() {
    let list = r#"["http://a", { url = "http://b", allow = ["raw", "cookie:u"], names = ["weather"] }]"#;
    let (settings, problems) = load("", &[("PASTEUP_DISCOVERY__MANIFESTS", list)]);
    assert_eq!(problems, []);
    let [a, b] = settings.limits.sources.as_slice() else { panic!("two sources: {:?}", settings.limits.sources) };
    assert!(a.allow.is_empty() && a.names.is_empty());
    assert_eq!(b.entry_with(&[], None), r#"{ url = "http://b", allow = ["raw", "cookie:u"], names = ["weather"] }"#);
    let (_, problems) = load(
        "[discovery]\nmanifests = [\"http://a\", \"http://a/\", { allow = [] }, { url = \"http://c\", allow = [\"rwa\"] }]\n",
        &[],
    );
    let messages: Vec<&str> = problems.iter().map(|(.., message)| message.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    for message in ["is listed twice", "`url` is missing", "`rwa` is not one of raw"] {
        assert!(messages.iter().any(|found| found.contains(message)), "{message}: {messages:?}");
    }
}

#[test]
fn all_errors_are_reported_at_once_each_at_its_place() {
    let (_, problems) = load(
        "[server]\nlisten = \"localhost\"\nlisen = 1\n[page]\nbudget = 3\n[upstreams]\nallow = [\"example.org\"]\n[sever]\n",
        &[("PASTEUP_FRAGMENT__TIMEOUT", "soon"), ("PASTEUP_NOPE__X", "1")],
    );
    let places: Vec<_> = problems.iter().map(|(file, line, column, _)| (file.as_str(), *line, *column)).collect();
    assert_eq!(
        places,
        [
            ("pasteup.toml", 2, 10),
            ("pasteup.toml", 3, 1),
            ("pasteup.toml", 5, 10),
            ("environment", 1, 27),
            ("pasteup.toml", 7, 10),
            ("pasteup.toml", 8, 2),
            ("environment", 1, 17),
        ],
        "{problems:#?}"
    );
    assert!(problems[5].3.contains("did you mean `server`?"));
}

#[test]
fn an_admin_listener_that_is_not_on_loopback_needs_a_token() {
    let (_, problems) = load("[server]\nadmin = \"0.0.0.0:9090\"\n", &[]);
    assert!(problems[0].3.contains("needs `admin_token`"), "{problems:?}");
    let (settings, problems) =
        load("[server]\nadmin = \"0.0.0.0:9090\"\n", &[("PASTEUP_SERVER__ADMIN_TOKEN", "hush-hush-hush-hush")]);
    assert_eq!(problems, []);
    assert!(!format!("{settings:?}").contains("hush"), "a secret is never printed");
    let (_, problems) = load("[server]\nadmin_token = \"hush\"\n", &[]);
    assert!(!problems[0].3.contains("hush"), "{problems:?}");
}

#[test]
fn secrets_that_could_be_guessed_are_refused() {
    for (name, secret, wrong) in [
        ("PASTEUP_SERVER__ADMIN_TOKEN", "fifteen letters", "fewer than 16 characters"),
        ("PASTEUP_SERVER__KEY", "0123456789abcdef0123456789abcde", "fewer than 32 bytes"),
    ] {
        let (_, problems) = load("", &[(name, secret)]);
        let [(file, 1, _, message)] = &problems[..] else { panic!("{problems:?}") };
        assert!(file == "environment" && message.contains(wrong) && !message.contains(secret), "{message}");
        assert_eq!(load("", &[(name, &format!("{secret}!"))]).1, []);
        assert_eq!(load("", &[(name, "")]).1, []);
    }
    assert_eq!(load("[server]\nadmin_token = \"generate\"\n", &[]).0.server.admin_token, Some(AdminToken::Generated));
}

#[test]
fn the_state_folder_is_none_that_is_read_or_served() {
    for (path, is_allowed) in [
        (".pasteup", true),
        ("/var/lib/pasteup", true),
        ("../state", true),
        ("public", false),
        ("./public/state", false),
        ("layouts/.state", false),
        ("fragments", false),
        ("", false),
    ] {
        let (settings, problems) = load(&format!("[server]\nstate = \"{path}\"\n"), &[]);
        assert_eq!(problems.is_empty(), is_allowed, "{path}: {problems:?}");
        let state = if is_allowed { path } else { ".pasteup" };
        assert_eq!(settings.server.state.path(), Path::new(state));
    }
}

#[test]
fn variables_that_kubernetes_sets_are_not_settings() {
    let (_, problems) = load(
        "",
        &[
            ("PASTEUP_SERVICE_HOST", "10.0.0.1"),
            ("PASTEUP_SERVICE_PORT", "80"),
            ("PASTEUP_PORT", "tcp://10.0.0.1:80"),
            ("PASTEUP_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("PASTEUP_SERVER_PORT", "tcp://10.0.0.1:80"),
            ("PASTEUP_SERVER_SERVICE_HOST", "10.0.0.1"),
        ],
    );
    assert_eq!(problems, []);
    let (settings, problems) = load("", &[("PASTEUP_SERVER_LISTEN", "127.0.0.1:1")]);
    assert_eq!(settings.server.listen.port(), 8080);
    assert!(problems.len() == 1 && problems[0].3.contains("PASTEUP_SERVER__LISTEN"), "{problems:?}");
}

#[test]
fn a_string_in_the_environment_needs_no_quotes() {
    for token in ["1234567890123456", "\"sixteen, quoted\"", "[1, 2, 3, 4, 5, 6]", "'one quotation mark"] {
        let (settings, problems) = load("", &[("PASTEUP_SERVER__ADMIN_TOKEN", token)]);
        assert_eq!(problems, []);
        assert_eq!(settings.server.admin_token, Some(AdminToken::Given(Secret::new(token.to_owned()))));
    }
    let (settings, problems) =
        load("", &[("PASTEUP_SERVER__MAX_IN_FLIGHT", "7"), ("PASTEUP_CONTEXT__LOCALES", "[\"de\", \"en\"]")]);
    assert_eq!(problems, []);
    assert_eq!((settings.server.max_in_flight, settings.readers.locales.len()), (7, 2));
    for (name, text) in [("PASTEUP_SERVER__MAX_IN_FLIGHT", "many"), ("PASTEUP_CONTEXT__LOCALES", "de")] {
        assert_eq!(load("", &[(name, text)]).1.len(), 1, "{name}");
    }
}

#[test]
fn a_setting_that_is_not_acted_on_is_reported() {
    assert_eq!(load("[page]\nstream = false\n[fragment]\nhtml = \"balanced\"\n", &[]).1, []);
}

#[test]
fn the_url_of_a_collector_is_checked_and_never_repeated() {
    let otlp = |text: &str| load(&format!("[telemetry]\notlp = \"{text}\"\n"), &[]);
    let (settings, problems) = otlp("http://collector:4318");
    assert_eq!(settings.telemetry.otlp.map(String::from).as_deref(), Some("http://collector:4318/"));
    assert!(problems.is_empty() || !cfg!(feature = "otlp"), "{problems:?}");
    assert_eq!(otlp("").1, []);
    for wrong in ["collector:4318", "hush", "grpc://u:hush@c:4317", "http://u:hush@c:4318", "http://"] {
        let (settings, problems) = otlp(wrong);
        assert_eq!(settings.telemetry.otlp, None, "{wrong}");
        let [(file, 2, 8, message)] = problems.as_slice() else { panic!("{wrong}: {problems:?}") };
        assert!(file == "pasteup.toml" && message.contains("Some(") && !message.contains("hush"), "{message}");
    }
}

#[test]
fn an_invalid_log_filter_is_reported_when_it_is_read() {
    let (_, problems) = load("[telemetry]\nlog = \"pasteup=loud\"\n", &[]);
    assert!(problems.len() == 1 && problems[0].3.contains("not a valid log filter"), "{problems:?}");
    assert_eq!(load("[telemetry]\nlog = \"warn,pasteup=debug\"\n", &[]).1, []);
}

#[test]
fn every_setting_is_read_as_its_schema_states() {
    toml_fields(&schema::file::SCHEMA, |text| {
        Settings::load(Path::new(""), Some(&Source::new("pasteup.toml", text)), [], Flags::default()).1
    });
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults_of_the_program() {
    let mut file = String::new();
    for section in schema::file::SCHEMA.fields {
        file.push_str(&format!("[{}]\n", section.name));
        for field in section.kind.schema().expect("each section is a table").fields {
            if let Some(value) = field.default.value() {
                file.push_str(&format!("{} = {}\n", field.name, field.kind.toml(&value)));
            }
        }
    }
    assert_eq!(load(&file, &[]), load("", &[]));
}
