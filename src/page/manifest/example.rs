//! Example requests of a nanoservice, whose responses have something to show: for people, and for tests.
//! An example that the manifest's own parameters do not allow is an error at its place.

use crate::page::source::names;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::table::{self, Data, TableReader, Value};

use super::param::{self, Param};

schema! {
    /// A request whose response has something to show.
    pub(crate) mod fields {
        /// A title for people.
        NAME = Field::new("name", Kind::Text).example("\"London\"");
        /// The parameters of the request. They are checked against `[params]`.
        PARAMS = Field::new("params", Kind::Map("NAME", &Kind::Scalar)).example("{ city = \"london\" }");
    }
}

/// A request whose response has something to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Example {
    /// A title; empty if it has none.
    pub name: String,
    /// Its parameters, in the order of the manifest.
    pub params: Vec<(String, String)>,
}

/// Why an example does not suit the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The parameter is not declared.
    #[error("it has no parameter `{0}`")]
    Unknown(String),
    /// A value is not valid for its parameter.
    #[error("`{0}` {1}, and is `{2}`")]
    Value(String, String, String),
    /// A required parameter is not given.
    #[error("the parameter `{0}` is required")]
    Missing(String),
}

impl Example {
    /// Checks the example against the declared parameters. A nanoservice that declares none accepts any.
    ///
    /// # Errors
    /// The first parameter that is not valid, or missing.
    pub fn check(&self, declared: &[Param]) -> Result<(), Refusal> {
        for (name, value) in &self.params {
            check_one(declared, name, value)?;
        }
        match missing(declared, &self.params) {
            Some(name) => Err(Refusal::Missing(name.to_owned())),
            None => Ok(()),
        }
    }
}

fn check_one(declared: &[Param], name: &str, value: &str) -> Result<(), Refusal> {
    match declared.iter().find(|param| param.name == name) {
        Some(param) => {
            param.check(value).map_err(|rule| Refusal::Value(name.to_owned(), rule, value.escape_debug().to_string()))
        }
        None if declared.is_empty() => Ok(()),
        None => Err(Refusal::Unknown(name.to_owned())),
    }
}

fn missing<'d>(declared: &'d [Param], given: &[(String, String)]) -> Option<&'d str> {
    let mut required = declared.iter().filter(|param| param.required);
    required.find(|param| given.iter().all(|(name, _)| *name != param.name)).map(|param| param.name.as_str())
}

/// Reads one of `[[examples]]`, and checks it against the parameters that the manifest declares.
pub(super) fn read(example: &mut TableReader<'_>, declared: &[Param]) -> Example {
    let name = example.read(&fields::NAME, table::text).unwrap_or_default();
    let at = example.at().clone();
    let Some(entry) = example.entry(&fields::PARAMS) else {
        if let Some(name) = missing(declared, &[]) {
            example.note(at, Refusal::Missing(name.to_owned()).to_string(), help(name));
        }
        return Example { name, params: Vec::new() };
    };
    let Data::Table(given) = &entry.value.data else {
        let message = format!("`params` must be a table, not {}", entry.value.data.kind());
        example.note(entry.value.at.clone(), message, Some("write `params = { city = \"london\" }`".to_owned()));
        return Example { name, params: Vec::new() };
    };
    let mut params = Vec::new();
    for entry in &given.entries {
        match value(declared, &entry.key, &entry.value) {
            Ok(value) => params.push((entry.key.clone(), value)),
            Err((message, help)) => example.note(entry.value.at.clone(), message, help),
        }
    }
    let given: Vec<(String, String)> = given.entries.iter().map(|entry| (entry.key.clone(), String::new())).collect();
    if let Some(name) = missing(declared, &given) {
        example.note(entry.value.at.clone(), Refusal::Missing(name.to_owned()).to_string(), help(name));
    }
    Example { name, params }
}

fn help(name: &str) -> Option<String> {
    Some(format!("give the example `{name}`, or declare it as not required"))
}

/// The value of a parameter as it is sent.
///
/// # Errors
/// Why it is refused, and what to do.
fn value(declared: &[Param], name: &str, value: &Value) -> Result<String, (String, Option<String>)> {
    let text = param::scalar(value).map_err(|error| (format!("`{name}`: {}", error.message), error.help))?;
    match check_one(declared, name, &text) {
        Ok(()) => Ok(text),
        Err(refusal) => {
            let help = match refusal {
                Refusal::Unknown(_) => names::did_you_mean(name, declared.iter().map(|param| param.name.as_str())),
                _ => None,
            };
            Err((refusal.to_string(), help))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::page::manifest::Manifest;
    use crate::page::source::diagnostic::Source;

    const HEAD: &str = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a/\"\n\
                        [params.city]\nrequired = true\npattern = \"[a-z]+\"\n[params.days]\ntype = \"integer\"\n";

    #[track_caller]
    fn check(examples: &str, expected: &[(usize, usize, &str)]) {
        let (manifest, problems) = Manifest::parse(&Source::new("fragment.toml", format!("{HEAD}{examples}")));
        let found: Vec<_> = problems
            .iter()
            .map(|problem| {
                let (line, column) = problem.at.source.position(problem.at.span.start);
                (line - HEAD.lines().count(), column, problem.message.as_str())
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(manifest.is_some(), expected.is_empty());
    }

    #[test]
    fn the_values_of_an_example_are_read_as_they_are_sent() {
        let text = format!("{HEAD}[[examples]]\nname = \"X\"\nparams = {{ days = 3, city = \"london\" }}\n");
        let manifest = Manifest::parse(&Source::new("fragment.toml", text)).0.expect("a manifest");
        let params = [("days", "3"), ("city", "london")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((manifest.examples[0].name.as_str(), &manifest.examples[0].params[..]), ("X", &params[..]));
    }

    #[test]
    fn an_example_that_the_manifest_does_not_allow_is_an_error_at_its_place() {
        check("[[examples]]\nparams = { city = \"x\", days = 3 }\n", &[]);
        check(
            "[[examples]]\nparams = { city = \"X\", dys = 3 }\n",
            &[(2, 19, "`city` must match `[a-z]+`, and is `X`"), (2, 30, "it has no parameter `dys`")],
        );
        check("[[examples]]\nname = \"none\"\n", &[(1, 1, "the parameter `city` is required")]);
        check("[[examples]]\nparams = { days = 1 }\n", &[(2, 10, "the parameter `city` is required")]);
        check("[[examples]]\nparams = { city = [\"x\"] }\n", &[(2, 19, "`city`: must be a plain value, not a list")]);
    }
}
