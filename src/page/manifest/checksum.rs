//! The checksum of a manifest's meaning, by which a version that changed without a new number is noticed.
//! Comments, order and notation do not matter, nor does anything that is left out or has its default.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::page::source::table::Data;
use crate::page::source::units;

use super::on_demand::{EnvValue, OnDemand, Ready};
use super::schema::file;
use super::{Boundary, Manifest};

/// What is hashed: one line for each value that says something.
#[derive(Default)]
struct Meaning(String);

impl Meaning {
    fn add(&mut self, key: &str, value: &str) {
        // As JSON, so that no value can look like another line.
        let value = serde_json::Value::from(value);
        writeln!(self.0, "{key} {value}").expect("a text takes whatever is written to it");
    }

    fn add_all(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let mut values: Vec<String> = values.collect();
        values.sort();
        values.dedup();
        values.iter().for_each(|value| self.add(key, value));
    }

    fn add_time(&mut self, key: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.add(key, &units::milliseconds(time).to_string());
        }
    }
}

impl Manifest {
    /// The checksum of its meaning, with everything that may change without a new version left out: where it runs, who owns
    /// it, what becomes of it, how it is authenticated and how it takes over.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut meaning = Meaning::default();
        meaning.add("name", &self.name);
        meaning.add("version", &self.version.to_string());
        meaning.add_all("context", self.context.iter().map(ToString::to_string));
        meaning.add_all("composes", self.composes.iter().cloned());
        meaning.add_all("cookies", self.cookies.iter().cloned());
        if self.esi {
            meaning.add("esi", "true");
        }
        if self.html != Boundary::default() {
            meaning.add("html", self.html.as_str());
        }
        self.add_params(&mut meaning);
        meaning.add_time("cache.ttl", self.cache.ttl);
        meaning.add_time("cache.stale_while_revalidate", self.cache.stale_while_revalidate);
        meaning.add_time("cache.stale_if_error", self.cache.stale_if_error);
        meaning.add_time("cache.max_ttl", self.cache.max_ttl);
        meaning.add_time("limits.timeout", self.limits.timeout);
        if let Some(bytes) = self.limits.max_bytes {
            meaning.add("limits.max_bytes", &bytes.to_string());
        }
        if let Some(concurrency) = self.limits.concurrency {
            meaning.add("limits.concurrency", &concurrency.to_string());
        }
        for asset in self.declared.get(file::ASSETS.name).into_iter().flat_map(|value| value.data.items()) {
            meaning.add("asset", &canonical(&asset.data));
        }
        for example in &self.examples {
            meaning.add("example", &example.name);
            meaning.add_all("example.param", example.params.iter().map(|(name, value)| format!("{name}={value}")));
        }
        if let Some(on_demand) = &self.on_demand {
            add_on_demand(on_demand, &mut meaning);
        }
        let mut text = String::from("sha256:");
        for byte in Sha256::digest(meaning.0.as_bytes()) {
            write!(text, "{byte:02x}").expect("a text takes whatever is written to it");
        }
        text
    }

    fn add_params(&self, meaning: &mut Meaning) {
        let mut params: Vec<_> = self.params.iter().collect();
        params.sort_by(|a, b| a.name.cmp(&b.name));
        let declared = self.declared.get(file::PARAMS.name).and_then(|value| value.data.table());
        for param in params {
            meaning.add("param", &param.name);
            param.meaning().into_iter().for_each(|(key, value)| meaning.add(key, &value));
            let declared = declared.and_then(|all| all.get(&param.name)?.data.table());
            if let Some(assumed) = declared.and_then(|param| param.get(super::param::fields::DEFAULT.name)) {
                meaning.add("param.default", &canonical(&assumed.data));
            }
        }
    }
}

fn add_on_demand(on_demand: &OnDemand, meaning: &mut Meaning) {
    meaning.add("path", on_demand.path().as_str());
    let env = match on_demand {
        OnDemand::Program(program) => {
            program.command.iter().for_each(|word| meaning.add("command", word));
            meaning.add_time("run.idle", program.rules.idle);
            meaning.add_time("run.start_timeout", Some(program.rules.start_timeout));
            meaning.add_time("run.stop_timeout", Some(program.rules.stop_timeout));
            if program.rules.is_kept {
                meaning.add("run.min", "1");
            }
            if let Ready::Path(path) = &program.ready {
                meaning.add("run.ready", path);
            }
            if let Some(memory) = program.memory {
                meaning.add("run.memory", &memory.to_string());
            }
            &program.env
        }
        OnDemand::Component(component) => {
            // What it contains is its meaning, wherever it is.
            let content = component.content.map_or_else(|| component.file.clone(), |hash| format!("{hash:032x}"));
            meaning.add("component", &content);
            meaning.add("run.memory", &component.memory.to_string());
            meaning.add_all("run.outbound", component.outbound.iter().map(ToString::to_string));
            &component.env
        }
    };
    let value = |value: &EnvValue| match value {
        EnvValue::Text(text) => format!("text {text}"),
        EnvValue::Reference(reference) => format!("secret {reference}"),
    };
    meaning.add_all("run.env", env.iter().map(|(name, one)| format!("{name}={}", value(one))));
}

/// A value as JSON, with the keys of its tables in order.
fn canonical(data: &Data) -> String {
    match data {
        Data::Table(table) => {
            let mut entries: Vec<String> = table
                .entries
                .iter()
                .map(|entry| {
                    format!("{}:{}", serde_json::Value::from(entry.key.as_str()), canonical(&entry.value.data))
                })
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(","))
        }
        Data::List(items) => {
            format!("[{}]", items.iter().map(|item| canonical(&item.data)).collect::<Vec<_>>().join(","))
        }
        other => other.to_json().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::Source;

    fn checksum(text: &str) -> String {
        let (manifest, problems) = Manifest::parse(&Source::new("fragments/a/fragment.toml", text));
        manifest.unwrap_or_else(|| panic!("{problems:?}")).checksum()
    }

    const ONE: &str = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a.test/\"\ncontext = [\"locale\", \"device\"]\n\
                       [params.city]\nrequired = true\n[params.days]\ntype = \"integer\"\n[cache]\nttl = \"60s\"\n[[assets]]\n\
                       rel = \"stylesheet\"\nhref = \"/a.css\"\n[[examples]]\nparams = { city = \"x\", days = 3 }\n";

    #[test]
    fn comments_order_and_notation_do_not_matter() {
        let same = "# another\nversion = '1.0.0'\nname='a'\nendpoint = [\"http://b.test/\", \"http://c.test/\"]\nesi = false\n\
                    context = [\"device\", \"locale\"]\nowner = \"team\"\nrunbook = \"https://r.test/\"\nlifecycle = \"deprecated\"\n\
                    sunset = 2030-01-01\nsuccessor = \"b\"\ndescription = \"it\"\n[rollout]\nsteps = [50]\n[cache]\nttl = \"1m\"\n\
                    [[assets]]\nhref = \"/a.css\"\nrel = \"stylesheet\"\n\
                    [params.days]\ntype = \"integer\"\ndescription = \"x\"\n[params.city]\ntype = \"string\"\nrequired = true\n\
                    [[examples]]\nparams = { days = 3, city = \"x\" }\n[auth]\nkind = \"none\"\n";
        assert_eq!(checksum(ONE), checksum(same));
        assert!(checksum(ONE).starts_with("sha256:") && checksum(ONE).len() == 7 + 64);
    }

    /// Lock files hold checksums: one that changed with the program would be a warning at every manifest.
    #[test]
    fn the_checksum_stays_what_it_is() {
        let least = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a.test/\"\n";
        let mut expected = String::from("sha256:");
        Sha256::digest(b"name \"a\"\nversion \"1.0.0\"\n")
            .iter()
            .for_each(|byte| write!(expected, "{byte:02x}").expect("a text"));
        assert_eq!(checksum(least), expected);
    }

    #[test]
    fn whatever_changes_an_answer_changes_it() {
        for (from, to) in [
            ("required = true", "required = false"),
            ("\"integer\"", "\"number\""),
            ("\"60s\"", "\"61s\""),
            ("\"/a.css\"", "\"/b.css\""),
            ("days = 3", "days = 4"),
            ("\"locale\", ", ""),
            ("[cache]", "[limits]\ntimeout = \"1s\"\n[cache]"),
            ("[params.days]", "[params.days]\ndefault = 3"),
            ("version = \"1.0.0\"", "version = \"1.0.1\""),
        ] {
            assert!(ONE.contains(from), "{from}");
            assert_ne!(checksum(ONE), checksum(&ONE.replacen(from, to, 1)), "{from}");
        }
    }
}
