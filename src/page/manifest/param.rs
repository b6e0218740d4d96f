//! The declared parameters of a nanoservice, and whether a value is valid for one.
//! A parameter that no layout could set is an error of the manifest.

use crate::page::source::diagnostic::Code;
use crate::page::source::names;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::table::{self, Data, TableReader, Value, ValueError};

use super::pattern::{Pattern, PatternBudget};

/// A declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// The name, which layouts write as `data-NAME`.
    pub name: String,
    /// Whether every request must have it.
    pub required: bool,
    kind: ParamKind,
    one_of: Vec<String>,
    pattern: Option<Pattern>,
    minimum: Option<f64>,
    maximum: Option<f64>,
}

/// Maximum number of parameters of a nanoservice.
const MAX_PARAMS: usize = 64;

/// What the values of a parameter are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParamKind {
    Text,
    Integer,
    Number,
    Boolean,
}

impl ParamKind {
    const ALL: [Self; 4] = [Self::Text, Self::Integer, Self::Number, Self::Boolean];

    const KIND: Kind =
        Kind::Word(&[Self::Text.as_str(), Self::Integer.as_str(), Self::Number.as_str(), Self::Boolean.as_str()]);

    const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

schema! {
    /// A parameter, which layouts set with `data-NAME`. Names are in lower case.
    pub(crate) mod fields {
        /// What its values are.
        TYPE = Field::new("type", ParamKind::KIND).default(ParamKind::Text.as_str());
        /// Whether a layout must set it.
        REQUIRED = Field::new("required", Kind::Boolean).default("false");
        /// The only values that are allowed.
        ENUM = Field::new("enum", Kind::List(&Kind::Scalar)).example("[\"lead\", \"list\"]");
        /// What the whole value must match. Limited to 64 KiB compiled, and to 8 KiB if it repeats something without end.
        PATTERN = Field::new("pattern", Kind::Pattern).example("\"[a-z0-9-]+\"");
        /// The smallest number that is allowed.
        MINIMUM = Field::new("minimum", Kind::Number).example("1");
        /// The largest number that is allowed.
        MAXIMUM = Field::new("maximum", Kind::Number).example("50");
        /// What it is, for people.
        DESCRIPTION = Field::new("description", Kind::Text).example("\"The town.\"");
        /// What the service assumes if it is not set, for people.
        DEFAULT = Field::new("default", Kind::Any).example("\"lead\"");
    }
}

impl Param {
    /// The name of its type in manifests.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    /// What it declares of its values, each under a key, with defaults left out.
    pub(super) fn meaning(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if self.kind != ParamKind::Text {
            all.push(("param.type", self.kind().to_owned()));
        }
        if self.required {
            all.push(("param.required", "true".to_owned()));
        }
        let mut allowed = self.one_of.clone();
        allowed.sort();
        all.extend(allowed.into_iter().map(|value| ("param.enum", value)));
        all.extend(self.pattern.as_ref().map(|pattern| ("param.pattern", pattern.as_str().to_owned())));
        all.extend(self.minimum.map(|least| ("param.minimum", least.to_string())));
        all.extend(self.maximum.map(|most| ("param.maximum", most.to_string())));
        all
    }

    /// Whether another declaration takes the same values.
    #[must_use]
    pub fn takes_the_same(&self, other: &Self) -> bool {
        let without_need = |param: &Self| Self { required: false, ..param.clone() };
        without_need(self) == without_need(other)
    }

    /// Checks whether a value is valid for the parameter.
    ///
    /// # Errors
    /// What the value must be, as the end of a sentence about it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let number = match self.kind {
            ParamKind::Text => None,
            ParamKind::Boolean if matches!(value, "true" | "false") => None,
            ParamKind::Boolean => return Err("must be `true` or `false`".to_owned()),
            #[expect(clippy::cast_precision_loss, reason = "compared with bounds that are doubles themselves")]
            ParamKind::Integer => Some(value.parse::<i64>().map_err(|_| "must be a whole number".to_owned())? as f64),
            ParamKind::Number => {
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
            Some(pattern) if !pattern.matches(value) => Err(format!("must match `{}`", pattern.as_str())),
            _ => Ok(()),
        }
    }

    /// Values that are not valid, to test whether the nanoservice refuses them: one of another kind, and one beyond each
    /// bound. Empty if every value is valid.
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

/// Reads `[params.*]`. Their patterns are compiled within a budget.
pub(super) fn params(reader: &mut TableReader<'_>, field: &'static Field, patterns: &PatternBudget) -> Vec<Param> {
    let Some(entry) = reader.entry(field) else { return Vec::new() };
    let Data::Table(declared) = &entry.value.data else {
        reader.note(entry.value.at.clone(), "`params` must be a table", Some("write `[params.city]`".to_owned()));
        return Vec::new();
    };
    if declared.entries.len() > MAX_PARAMS {
        let message =
            format!("a nanoservice may declare at most {MAX_PARAMS} parameters, not {}", declared.entries.len());
        reader.note(entry.key_at.clone(), message, Some("a service that declares none accepts any".to_owned()));
        return Vec::new();
    }
    let (mut all, mut left_out) = (Vec::new(), false);
    for entry in &declared.entries {
        if entry.key.contains(|c: char| c.is_ascii_uppercase()) {
            let help = format!("attribute names in HTML are in lower case: write `{}`", entry.key.to_lowercase());
            reader.note(entry.key_at.clone(), format!("no layout can set the parameter `{}`", entry.key), Some(help));
        } else if !names::is_name(&entry.key) {
            let help = format!("use {}", names::NAME_RULE);
            reader.note(entry.key_at.clone(), format!("`{}` is not a valid parameter name", entry.key), Some(help));
        }
        let Data::Table(table) = &entry.value.data else {
            reader.note(entry.value.at.clone(), format!("`params.{}` must be a table", entry.key), None);
            continue;
        };
        let mut inner = TableReader::new(table, &fields::SCHEMA, Code::Manifest);
        // Not even compiled. The manifest is refused below, so nothing is checked without its pattern.
        let is_left_out = patterns.is_spent() && inner.entry(&fields::PATTERN).is_some();
        left_out |= is_left_out;
        let read_pattern = |value: &Value| Pattern::read(value, patterns);
        let kind = table::word_for(&ParamKind::KIND, &ParamKind::ALL, ParamKind::as_str);
        let param = Param {
            name: entry.key.clone(),
            required: inner.read_or_default(&fields::REQUIRED, table::boolean),
            kind: inner.read_or_default(&fields::TYPE, kind),
            one_of: inner.read(&fields::ENUM, one_of).unwrap_or_default(),
            pattern: if is_left_out { None } else { inner.read(&fields::PATTERN, read_pattern) },
            minimum: inner.read(&fields::MINIMUM, table::number),
            maximum: inner.read(&fields::MAXIMUM, table::number),
        };
        if let (Some(minimum), Some(maximum), Some(entry)) =
            (param.minimum, param.maximum, inner.entry(&fields::MINIMUM))
            && minimum > maximum
        {
            let message = format!("`minimum` {minimum} is more than `maximum` {maximum}: no value is allowed");
            inner.note(entry.value.at.clone(), message, None);
        }
        inner.read(&fields::DESCRIPTION, table::text);
        for problem in inner.finish() {
            reader.note(problem.at, problem.message, problem.help);
        }
        all.push(param);
    }
    if left_out {
        let message = "its patterns, with those of the manifests before it, are too large";
        reader.note(entry.key_at.clone(), message, Some("use shorter patterns, or `enum`".to_owned()));
    }
    all
}

fn one_of(value: &Value) -> Result<Vec<String>, ValueError> {
    let all = table::list(scalar)(value)?;
    let help = "list the allowed values, or leave it out";
    if all.is_empty() { Err(ValueError::with_help("an empty list allows no value", help)) } else { Ok(all) }
}

/// Reads a string, number or boolean as it is sent.
pub(super) fn scalar(value: &Value) -> Result<String, ValueError> {
    match &value.data {
        Data::Text(text) => Ok(text.clone()),
        Data::Integer(number) => Ok(number.to_string()),
        Data::Number(number) => Ok(number.to_string()),
        Data::Boolean(yes) => Ok(yes.to_string()),
        other => Err(ValueError::new(format!("must be a plain value, not {}", other.kind()))),
    }
}
