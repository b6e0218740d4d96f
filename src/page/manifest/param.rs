//! What a nanoservice may be asked: its declared parameters, and whether a value is one.

use crate::page::source::diagnostic::Code;
use crate::page::source::names;
use crate::page::source::table::{self, Data, TableReader, Value, Wrong};

/// A declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// The layout's `data-NAME`.
    pub name: String,
    /// Whether a request without it makes no sense.
    pub required: bool,
    kind: Kind,
    one_of: Vec<String>,
    pattern: Option<Pattern>,
    minimum: Option<f64>,
    maximum: Option<f64>,
}

/// Bytes of a compiled pattern, at most.
const MAX_PATTERN: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

/// A regular expression that equals another with the same text.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    whole: regex_lite::Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Param {
    /// The word for what its values are.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }

    /// Whether the nanoservice would take a value.
    ///
    /// # Errors
    /// What it would take instead.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let number = match self.kind {
            Kind::Text => None,
            Kind::Boolean if matches!(value, "true" | "false") => None,
            Kind::Boolean => return Err("must be `true` or `false`".to_owned()),
            #[expect(clippy::cast_precision_loss, reason = "compared with bounds that are doubles themselves")]
            Kind::Integer => Some(value.parse::<i64>().map_err(|_| "must be a whole number".to_owned())? as f64),
            Kind::Number => {
                let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
                Some(number.ok_or_else(|| "must be a number".to_owned())?)
            }
        };
        if let (Some(number), Some(minimum)) = (number, self.minimum)
            && number < minimum
        {
            return Err(format!("must be at least {minimum}"));
        }
        if let (Some(number), Some(maximum)) = (number, self.maximum)
            && number > maximum
        {
            return Err(format!("must be at most {maximum}"));
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|allowed| allowed == value) {
            return Err(format!("must be one of {}", self.one_of.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.whole.is_match(value) => Err(format!("must match `{}`", pattern.text)),
            _ => Ok(()),
        }
    }

    /// Values that the nanoservice would not take, to see whether it says so: one of another kind,
    /// and one past each bound. Empty where it takes everything.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        let past = |bound: Option<f64>, step: f64| bound.map(|bound| (bound + step).to_string());
        let bounds = [past(self.minimum, -1.0), past(self.maximum, 1.0)];
        let mut values: Vec<String> = ["not what it takes", "~"].map(str::to_owned).into();
        values.retain(|value| self.check(value).is_err());
        values.truncate(1);
        values.extend(bounds.into_iter().flatten().filter(|value| self.check(value).is_err()));
        values
    }
}

/// Reads `[params.*]`.
pub(super) fn params(reader: &mut TableReader<'_>) -> Vec<Param> {
    let Some(entry) = reader.entry("params") else { return Vec::new() };
    let Data::Table(declared) = &entry.value.data else {
        reader.note(entry.value.at.clone(), "`params` must be a table", Some("write `[params.city]`".to_owned()));
        return Vec::new();
    };
    let mut all = Vec::new();
    for entry in &declared.entries {
        if entry.key.contains(|c: char| c.is_ascii_uppercase()) {
            let cure = format!("HTML knows no capitals in names of attributes: write `{}`", entry.key.to_lowercase());
            reader.note(entry.key_at.clone(), format!("no layout can give the parameter `{}`", entry.key), Some(cure));
        } else if !names::is_name(&entry.key) {
            let cure = format!("a name holds {}", names::NAME_RULE);
            reader.note(entry.key_at.clone(), format!("`{}` is no name of a parameter", entry.key), Some(cure));
        }
        let Data::Table(table) = &entry.value.data else {
            reader.note(entry.value.at.clone(), format!("`params.{}` must be a table", entry.key), None);
            continue;
        };
        let mut inner = TableReader::new(table, Code::Manifest);
        let param = Param {
            name: entry.key.clone(),
            required: inner.read("required", table::boolean).unwrap_or_default(),
            kind: match inner.read("type", table::word(&["string", "integer", "number", "boolean"])) {
                Some("integer") => Kind::Integer,
                Some("number") => Kind::Number,
                Some("boolean") => Kind::Boolean,
                _ => Kind::Text,
            },
            one_of: inner.read("enum", some_of).unwrap_or_default(),
            pattern: inner.read("pattern", |value| {
                let text = table::text(value)?;
                // By itself first: the brackets around it must not make sense of half of one.
                expression(&text)?;
                // A pattern speaks of the whole value, as in an HTML form.
                let whole = expression(&format!("^(?:{text})$"))?;
                Ok(Pattern { text, whole })
            }),
            minimum: inner.read("minimum", table::number),
            maximum: inner.read("maximum", table::number),
        };
        if let (Some(minimum), Some(maximum), Some(entry)) = (param.minimum, param.maximum, inner.entry("minimum"))
            && minimum > maximum
        {
            let message = format!("`minimum` {minimum} is more than `maximum` {maximum}: no value is allowed");
            inner.note(entry.value.at.clone(), message, None);
        }
        inner.read("description", table::text);
        inner.entry("default");
        for problem in inner.finish() {
            reader.note(problem.at, problem.message, problem.help);
        }
        all.push(param);
    }
    all
}

/// A regular expression of a bounded size, compiled.
fn expression(text: &str) -> Result<regex_lite::Regex, regex_lite::Error> {
    regex_lite::RegexBuilder::new(text).size_limit(MAX_PATTERN).build()
}

fn some_of(value: &Value) -> Result<Vec<String>, Wrong> {
    let all = table::list(scalar)(value)?;
    let help = "list what is allowed, or leave it out";
    if all.is_empty() { Err(Wrong::with_help("an empty list allows nothing", help)) } else { Ok(all) }
}

/// A text, number or boolean, as it is sent.
pub(super) fn scalar(value: &Value) -> Result<String, Wrong> {
    match &value.data {
        Data::Text(text) => Ok(text.clone()),
        Data::Integer(number) => Ok(number.to_string()),
        Data::Number(number) => Ok(number.to_string()),
        Data::Boolean(yes) => Ok(yes.to_string()),
        other => Err(Wrong::new(format!("must be a plain value, not {}", other.kind()))),
    }
}
