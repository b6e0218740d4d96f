//! The kinds of values of fields.
//! A kind is plain data: the parsers take words and ranges from it, and the reference its label.

use std::ops::RangeInclusive;

use super::Schema;

/// The kind of a field's values.
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
    /// A day, such as `2027-01-31`.
    Date,
    /// One of some words.
    Word(&'static [&'static str]),
    /// One or more of some words.
    Words(&'static [&'static str]),
    /// One of some words, each of which allows further keys in the same table.
    Variant(&'static [(&'static str, &'static Schema)]),
    /// Some words, or `not` and some words. If the set of words is closed, they are listed.
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
    /// A URL that may have ESI variables after its host.
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
    /// A reference to a secret: `env:NAME` or `file:PATH`.
    Reference,
    /// One of some notations, such as `locale` or `cookie:NAME`.
    Form(&'static [&'static str]),
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
    /// A list of values, each of which may be a table with these keys instead.
    ValuesOrTables(&'static Kind, &'static Schema),
    /// A table with these keys.
    Table(&'static Schema),
    /// A list of tables with these keys.
    Tables(&'static Schema),
    /// A table with arbitrary keys; the text states what a key is.
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
            Self::Word(words) | Self::Words(words) | Self::Condition(words) => words.to_vec(),
            Self::Variant(variants) => variants.iter().map(|(word, _)| *word).collect(),
            _ => Vec::new(),
        }
    }

    /// The keys of the table, or of each table of the list; none for other kinds.
    #[must_use]
    pub const fn schema(&self) -> Option<&'static Schema> {
        match self {
            Self::Table(schema) | Self::Tables(schema) | Self::ValuesOrTables(_, schema) => Some(schema),
            Self::Map(_, kind) => kind.schema(),
            _ => None,
        }
    }

    /// A value that the environment gives, in the notation of TOML.
    #[must_use]
    pub fn toml(&self, value: &str) -> String {
        match self {
            Self::Boolean | Self::Integer(..) | Self::Number | Self::List(_) | Self::ValuesOrTables(..) => {
                value.to_owned()
            }
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
            Self::Date => "date".to_owned(),
            Self::Word(_) | Self::Variant(_) => words(&self.words()),
            Self::Words(known) => format!("one or more of {}", words(known)),
            Self::Condition([]) => "words, or `not` and words".to_owned(),
            Self::Condition(known) => format!("{}: one or more, or `not` and one or more", words(known)),
            Self::Name => "name".to_owned(),
            Self::Version => "version".to_owned(),
            Self::VersionRange => "version range".to_owned(),
            Self::Url | Self::EsiUrl => "URL".to_owned(),
            Self::Endpoint => "URL, optionally with `{parameter}` in its path".to_owned(),
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
            Self::Form(forms) => words(forms),
            Self::Placeholders => "text with placeholders".to_owned(),
            Self::Scalar => "string, number or boolean".to_owned(),
            Self::Any => "any value".to_owned(),
            Self::List(kind) => format!("list of: {}", kind.label()),
            Self::ValuesOrTables(kind, _) => format!("list of: {}, or a table", kind.label()),
            Self::OneOrMore(kind) => format!("{}, or a list of them", kind.label()),
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "list of tables".to_owned(),
            Self::Map(key, kind) => format!("table: {key} = {}", kind.label()),
        }
    }
}
