//! Keys of TOML tables and attributes of elements, as data: each with its kind, its default and what it does.
//! Parsers read nothing that is not in a schema; a field that no parser reads fails a test.
//!
//! Diagnostics and `docs/reference/` come from the same data. There is no second list of names.

use std::ops::RangeInclusive;

/// The fields of a table or of an element.
#[derive(Debug)]
pub struct Schema {
    /// What the table or element is for, in one or two sentences.
    pub about: &'static str,
    /// Its fields, in the order of the reference.
    pub fields: &'static [&'static Field],
}

impl Schema {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().copied().find(|field| field.is_named(name))
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.fields.iter().map(|field| field.name)
    }

    /// Whether this very field is one of them. Two tables may have fields of one name.
    #[must_use]
    pub fn has(&self, field: &'static Field) -> bool {
        self.fields.iter().any(|known| std::ptr::eq(*known, field))
    }
}

/// A key of a TOML table, or an attribute of an element.
#[derive(Debug)]
pub struct Field {
    /// The key, or the name of the attribute.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// What applies where it is left out.
    pub default: Default,
    /// Whether it must be given.
    pub required: bool,
    /// Whether this version acts on it. If not, it is read and checked only.
    pub acted_on: bool,
    /// A value, as it is written in a file, where the example of its kind does not suit.
    pub example: Option<&'static str>,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

impl Field {
    /// A field that may be left out. The macro [`schema`] adds its documentation.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: Default::Nothing, required: false, acted_on: true, example: None, doc: "" }
    }

    /// Whether this is the name of the field. A field whose own name ends in `NAME` stands for all with its prefix.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        match self.name.strip_suffix("NAME") {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.name,
        }
    }

    /// Sets the value that applies where the field is left out, written as the environment gives it: without
    /// quotation marks around a string.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Default::Value(value);
        self
    }

    /// Takes the value that applies where the field is left out from where the program defines it.
    #[must_use]
    pub const fn default_from(mut self, value: fn() -> String) -> Self {
        self.default = Default::From(value);
        self
    }

    /// Describes in words what applies where the field is left out.
    #[must_use]
    pub const fn otherwise(mut self, words: &'static str) -> Self {
        self.default = Default::Words(words);
        self
    }

    /// Sets an example, written as in a file.
    #[must_use]
    pub const fn example(mut self, value: &'static str) -> Self {
        self.example = Some(value);
        self
    }

    /// Requires the field.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// States that this version does not act on the field.
    #[must_use]
    pub const fn not_acted_on(mut self) -> Self {
        self.acted_on = false;
        self
    }

    /// Sets the documentation.
    #[must_use]
    pub const fn documented(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

/// What applies where a field is left out.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// Nothing is set.
    Nothing,
    /// A value, as the environment gives it.
    Value(&'static str),
    /// A value that the program defines elsewhere, as the environment gives it.
    From(fn() -> String),
    /// What applies depends on other things; this describes it.
    Words(&'static str),
}

impl Default {
    /// The value, as the environment gives it.
    #[must_use]
    pub fn value(self) -> Option<String> {
        match self {
            Self::Value(value) => Some(value.to_owned()),
            Self::From(value) => Some(value()),
            Self::Nothing | Self::Words(_) => None,
        }
    }
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`. An attribute may also be written without a value.
    Boolean,
    /// A whole number in a range.
    Integer(i64, i64),
    /// A finite number.
    Number,
    /// A duration such as `250ms`.
    Duration,
    /// A duration that is not zero.
    PositiveDuration,
    /// A size such as `64KiB`.
    Size,
    /// A size that is not zero.
    PositiveSize,
    /// A time with its offset from UTC (RFC 3339).
    Time,
    /// One of some words.
    Word(&'static [&'static str]),
    /// One of some words, each of which allows further keys in the same table.
    Variant(&'static [(&'static str, &'static Schema)]),
    /// Some words, or `not` and some words. Where the words are closed, they are listed.
    Condition(&'static [&'static str]),
    /// A name (`names::is_name`).
    Name,
    /// A semantic version.
    Version,
    /// A range of semantic versions.
    VersionRange,
    /// An absolute `http` or `https` URL.
    Url,
    /// A URL that may have `{parameter}` in its path.
    Endpoint,
    /// A URL that may have ESI variables behind its host.
    EsiUrl,
    /// A test of ESI (ESI Language Specification 1.0).
    EsiTest,
    /// Scheme, host and port of a URL; `*` is any port.
    Upstream,
    /// An IP address and a port.
    Address,
    /// An IP address, or a network as address and prefix length.
    Network,
    /// The name of an HTTP header.
    Header,
    /// The name of a cookie.
    Cookie,
    /// A language tag (BCP 47).
    Locale,
    /// A filter of log lines.
    LogFilter,
    /// A path below `layouts/`.
    LayoutPath,
    /// The pattern of a page's path.
    Route,
    /// A regular expression.
    Pattern,
    /// Where a secret is: `env:NAME` or `file:PATH`.
    Reference,
    /// What a nanoservice may know of the client.
    Dimension,
    /// Text in which `{name}` is a placeholder.
    Placeholders,
    /// A string, number or boolean.
    Scalar,
    /// Any value.
    Any,
    /// A list.
    List(&'static Kind),
    /// One value, or a list of them.
    OneOrMore(&'static Kind),
    /// A table with these keys.
    Table(&'static Schema),
    /// A list of tables with these keys.
    Tables(&'static Schema),
    /// A table whose keys its writer names; the text says what a key is.
    Map(&'static str, &'static Kind),
}

impl Kind {
    /// The range of a whole number; any number for other kinds.
    #[must_use]
    pub const fn range(&self) -> RangeInclusive<i64> {
        match self {
            Self::Integer(least, most) => *least..=*most,
            _ => i64::MIN..=i64::MAX,
        }
    }

    /// The words that a value may be; none for kinds that list no words.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Self::Word(words) | Self::Condition(words) => words.to_vec(),
            Self::Variant(variants) => variants.iter().map(|(word, _)| *word).collect(),
            _ => Vec::new(),
        }
    }

    /// The keys of the table, or of each table of the list; none for other kinds.
    #[must_use]
    pub const fn schema(&self) -> Option<&'static Schema> {
        match self {
            Self::Table(schema) | Self::Tables(schema) => Some(schema),
            Self::Map(_, kind) => kind.schema(),
            _ => None,
        }
    }

    /// A value that the environment gives, in the notation of TOML.
    #[must_use]
    pub fn toml(&self, value: &str) -> String {
        match self {
            Self::Boolean | Self::Integer(..) | Self::Number | Self::List(_) => value.to_owned(),
            _ => format!("\"{value}\""),
        }
    }

    /// The kind in a few words, for the reference.
    #[must_use]
    pub fn label(&self) -> String {
        let words = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Text => "string".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Integer(least, most) => format!("whole number, {least} to {most}"),
            Self::Number => "number".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::PositiveDuration => "duration, not zero".to_owned(),
            Self::Size => "size".to_owned(),
            Self::PositiveSize => "size, not zero".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Word(_) | Self::Variant(_) => words(&self.words()),
            Self::Condition([]) => "words, or `not` and words".to_owned(),
            Self::Condition(known) => format!("{}: one or more, or `not` and one or more", words(known)),
            Self::Name => "name".to_owned(),
            Self::Version => "version".to_owned(),
            Self::VersionRange => "version range".to_owned(),
            Self::Url | Self::EsiUrl => "URL".to_owned(),
            Self::Endpoint => "URL, with `{parameter}` in its path where wanted".to_owned(),
            Self::EsiTest => "ESI expression".to_owned(),
            Self::Upstream => "scheme, host and port".to_owned(),
            Self::Address => "IP address and port".to_owned(),
            Self::Network => "IP address or network".to_owned(),
            Self::Header => "header name".to_owned(),
            Self::Cookie => "cookie name".to_owned(),
            Self::Locale => "language tag".to_owned(),
            Self::LogFilter => "log filter".to_owned(),
            Self::LayoutPath => "path below `layouts/`".to_owned(),
            Self::Route => "path pattern".to_owned(),
            Self::Pattern => "regular expression".to_owned(),
            Self::Reference => "reference to a secret".to_owned(),
            Self::Dimension => {
                "`locale`, `region`, `device`, `variant`, `page`, `cookie:NAME`, `header:NAME`".to_owned()
            }
            Self::Placeholders => "text with placeholders".to_owned(),
            Self::Scalar => "string, number or boolean".to_owned(),
            Self::Any => "any value".to_owned(),
            Self::List(kind) => format!("list of: {}", kind.label()),
            Self::OneOrMore(kind) => format!("{}, or a list of them", kind.label()),
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "list of tables".to_owned(),
            Self::Map(key, kind) => format!("table: {key} = {}", kind.label()),
        }
    }
}

/// Declares the fields of a table or an element in a module of their own: a static for each, and `SCHEMA` with all of
/// them. The doc comments are the documentation of the reference.
macro_rules! schema {
    (
        $(#[doc = $about:literal])+
        $vis:vis mod $module:ident {
            $( $(#[doc = $doc:literal])+ $FIELD:ident = $field:expr; )*
        }
    ) => {
        $(#[doc = $about])+
        $vis mod $module {
            #[allow(unused_imports, reason = "not every schema needs all that its parser imports")]
            use super::*;

            $(
                $(#[doc = $doc])+
                pub(crate) static $FIELD: $crate::page::source::schema::Field = $field.documented(concat!($($doc),+));
            )*

            /// All fields.
            pub(crate) static SCHEMA: $crate::page::source::schema::Schema =
                $crate::page::source::schema::Schema { about: concat!($($about),+), fields: &[$(&$FIELD),*] };
        }
    };
}
pub(crate) use schema;

/// Holds a parser and its schema together: every field is read, and as the kind that the schema gives.
#[cfg(test)]
pub(crate) mod check {
    use super::{Field, Kind, Schema};
    use crate::page::source::diagnostic::Diagnostic;

    /// Feeds a parser of TOML a wrong value for each field, which it must report, and an example, which it must accept.
    pub(crate) fn toml_fields(schema: &'static Schema, parse: impl Fn(&str) -> Vec<Diagnostic>) {
        each_field(schema, &|value| value, "", &mut |field, file| {
            let reported = |value: &str| {
                let text = file(format!("{} = {value}", field.name));
                let start = text.rfind(value).expect("it was put there");
                let inside = move |problem: &Diagnostic| {
                    let span = &problem.at.span;
                    problem.is_error() && span.start >= start && span.end <= start + value.len()
                };
                parse(&text).into_iter().find(inside).map(|problem| problem.message)
            };
            if let Some(wrong) = wrong_toml(&field.kind) {
                assert!(reported(&wrong).is_some(), "no parser reads `{}`: {}", field.name, file(String::new()));
            }
            if !matches!(field.kind, Kind::Reference) {
                let example = example_toml(field);
                assert_eq!(reported(&example), None, "`{}` does not accept `{example}`", field.name);
            }
        });
    }

    /// Calls `visit` for each field of a schema and of the tables in it. What it is given makes a file of an entry.
    fn each_field(
        schema: &'static Schema,
        file: &dyn Fn(String) -> String,
        siblings: &str,
        visit: &mut dyn FnMut(&'static Field, &dyn Fn(String) -> String),
    ) {
        for field in schema.fields {
            visit(field, &|entry| file(format!("{siblings}{entry}")));
            let name = field.name;
            let mut inner: Vec<(String, &'static str, &'static str, &'static Schema)> = Vec::new();
            match &field.kind {
                Kind::Table(schema) => inner.push((format!("{name} = {{ "), " }", "", schema)),
                Kind::Tables(schema) => inner.push((format!("{name} = [{{ "), " }]", "", schema)),
                Kind::Map(_, Kind::Table(schema)) => inner.push((format!("{name} = {{ a = {{ "), " } }", "", schema)),
                Kind::Variant(variants) => {
                    for (word, schema) in *variants {
                        inner.push((format!("{name} = \"{word}\", "), "", "", schema));
                    }
                }
                _ => {}
            }
            for (before, after, siblings, schema) in inner {
                let nested = |entry: String| file(format!("{before}{entry}{after}"));
                each_field(schema, &nested, siblings, visit);
            }
        }
    }

    /// A value of another kind; `None` if every value is of this kind.
    fn wrong_toml(kind: &Kind) -> Option<String> {
        Some(match kind {
            Kind::Any => return None,
            Kind::Boolean => "\"x\"".to_owned(),
            Kind::Scalar => "[]".to_owned(),
            Kind::List(kind) => format!("[{}]", wrong_toml(kind)?),
            _ => "true".to_owned(),
        })
    }

    fn example_toml(field: &Field) -> String {
        let default = || field.default.value().map(|value| field.kind.toml(&value));
        field.example.map(str::to_owned).or_else(default).unwrap_or_else(|| of_kind(&field.kind))
    }

    /// A value of a kind, for fields that have no example and no default.
    fn of_kind(kind: &Kind) -> String {
        match kind {
            Kind::Word(words) => format!("\"{}\"", words[0]),
            Kind::Variant(variants) => format!("\"{}\"", variants[0].0),
            Kind::Table(_) | Kind::Map(..) => "{}".to_owned(),
            Kind::List(_) | Kind::Tables(_) => "[]".to_owned(),
            other => panic!("give an example of {other:?} in the schema"),
        }
    }
}
