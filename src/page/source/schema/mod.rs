//! Keys of TOML tables and attributes of elements, as data: each with its kind, its default and its effect.
//! Parsers read nothing that is not in a schema; a field that no parser reads fails a test.
//!
//! Diagnostics and `docs/reference/` come from the same data. There is no second list of names.

mod kind;

#[cfg(test)]
pub(crate) mod check;

pub use kind::Kind;

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

    /// Whether this field is one of them. Two tables may have different fields of the same name.
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
    /// The kind of its values.
    pub kind: Kind,
    /// What applies if it is left out.
    pub default: DefaultValue,
    /// Whether it must be given.
    pub required: bool,
    /// Whether this version supports it. If not, it is only read and checked.
    pub acted_on: bool,
    /// An example of a value, as it is written in a file.
    pub example: Option<&'static str>,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

impl Field {
    /// A field that may be left out. The macro `schema` adds its documentation.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: DefaultValue::Nothing, required: false, acted_on: true, example: None, doc: "" }
    }

    /// Whether this is the name of the field. A field whose own name ends in `NAME` stands for all with its prefix.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        match self.name.strip_suffix("NAME") {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.name,
        }
    }

    /// Sets the value that applies if the field is left out, written as the environment gives it: without
    /// quotation marks around a string.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = DefaultValue::Value(value);
        self
    }

    /// Takes the value that applies if the field is left out from a function, since the program defines it elsewhere.
    #[must_use]
    pub const fn default_from(mut self, value: fn() -> String) -> Self {
        self.default = DefaultValue::From(value);
        self
    }

    /// Describes in words what applies if the field is left out.
    #[must_use]
    pub const fn otherwise(mut self, words: &'static str) -> Self {
        self.default = DefaultValue::Words(words);
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

    /// States that this version does not support the field.
    #[must_use]
    pub const fn not_supported(mut self) -> Self {
        self.acted_on = false;
        self
    }

    /// Sets the documentation.
    #[must_use]
    pub const fn documented(mut self, doc: &'static str) -> Self {
        self.doc = doc.trim_ascii();
        self
    }
}

/// What applies if a field is left out.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// Nothing is set.
    Nothing,
    /// A value, as the environment gives it.
    Value(&'static str),
    /// A value that the program defines elsewhere, as the environment gives it.
    From(fn() -> String),
    /// What applies depends on other things; this describes it.
    Words(&'static str),
}

impl DefaultValue {
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

/// Declares the fields of a table or an element in their own module: a static for each, and `SCHEMA` with all of
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
                $crate::page::source::schema::Schema { about: concat!($($about),+).trim_ascii(), fields: &[$(&$FIELD),*] };
        }
    };
}
pub(crate) use schema;
