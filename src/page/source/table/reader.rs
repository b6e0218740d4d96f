//! Reads the fields of a table by its schema.
//! A value of the wrong kind, or a key that is not in the schema, is a diagnostic, and reading continues.

use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use crate::page::source::names;
use crate::page::source::schema::{Field, Kind, Schema};

use super::values::{self, ValueError};
use super::{Data, Entry, Table, Value};

/// Reads one table by its schema, and collects its errors.
pub struct TableReader<'t> {
    table: &'t Table,
    /// The table's schema, and those that the value of a [`Kind::Variant`] adds.
    schemas: Vec<&'static Schema>,
    code: Code,
    problems: Vec<Diagnostic>,
}

impl<'t> TableReader<'t> {
    /// Starts to read a table; its errors get `code`.
    #[must_use]
    pub fn new(table: &'t Table, schema: &'static Schema, code: Code) -> Self {
        Self { table, schemas: vec![schema], code, problems: Vec::new() }
    }

    /// Whether the table has no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.table.entries.is_empty()
    }

    /// The entry of a field.
    #[must_use]
    pub fn entry(&self, field: &'static Field) -> Option<&'t Entry> {
        let is_known = self.schemas.iter().any(|schema| schema.has(field));
        debug_assert!(is_known, "`{}` is read from a table whose schema does not have it", field.name);
        self.table.entry(field.name).filter(|_| is_known)
    }

    /// The value of a field; `None` if it is left out, or if it is wrong, which is reported.
    pub fn read<T>(&mut self, field: &'static Field, read: impl Fn(&Value) -> Result<T, ValueError>) -> Option<T> {
        let entry = self.entry(field)?;
        match read(&entry.value) {
            Ok(value) => Some(value),
            Err(error) => {
                let at = error.at.unwrap_or_else(|| entry.value.at.clone());
                let problem = Diagnostic::new(self.code, at, format!("`{}`: {}", field.name, error.message));
                self.problems.push(problem.maybe_help(error.help));
                None
            }
        }
    }

    /// The value of a field that has a default, which applies if the field is left out or wrong.
    pub fn read_or_default<T>(
        &mut self,
        field: &'static Field,
        read: impl Fn(&Value) -> Result<T, ValueError> + Copy,
    ) -> T {
        self.read(field, read).unwrap_or_else(|| {
            let text = field.default.value().expect("the schema gives the field a default");
            let source = Source::new("", text.clone());
            let value = Value { data: Data::Bare(text), at: SourceSpan::new(&source, 0..source.text.len()) };
            read(&value).expect("the default of a field is valid")
        })
    }

    /// The whole number of a [`Kind::Integer`]; `None` if it is left out or wrong.
    pub fn integer<T: TryFrom<i64>>(&mut self, field: &'static Field) -> Option<T> {
        self.read(field, values::integer(&field.kind)).map(in_range)
    }

    /// The whole number of a [`Kind::Integer`] that has a default.
    pub fn integer_or_default<T: TryFrom<i64>>(&mut self, field: &'static Field) -> T {
        in_range(self.read_or_default(field, values::integer(&field.kind)))
    }

    /// The value of a field that must be given; `None` if it is missing or wrong, which is reported.
    pub fn required<T>(&mut self, field: &'static Field, read: impl Fn(&Value) -> Result<T, ValueError>) -> Option<T> {
        debug_assert!(field.required, "the schema does not require `{}`", field.name);
        if self.entry(field).is_none() {
            let start = self.table.at.span.start;
            let at = SourceSpan { span: start..start, ..self.table.at.clone() };
            self.note(at, format!("`{}` is missing", field.name), Some(format!("add a line `{} = …`", field.name)));
            return None;
        }
        self.read(field, read)
    }

    /// The word of a [`Kind::Variant`], whose keys may be read from now on. If it is missing or wrong, the keys of
    /// all variants are known, so that none of them is reported as unknown.
    pub fn variant(&mut self, field: &'static Field) -> Option<&'static str> {
        let word = self.read(field, values::word(&field.kind));
        if let Kind::Variant(variants) = &field.kind {
            let chosen = variants.iter().filter(|(name, _)| word.is_none_or(|word| word == *name));
            self.schemas.extend(chosen.map(|(_, schema)| *schema));
        }
        word
    }

    /// Reads a table below a key by its own reader. An absent table is read as an empty one.
    pub fn table<T>(&mut self, field: &'static Field, read: impl FnOnce(&mut TableReader<'_>) -> T) -> T {
        let key = field.name;
        let absent = Table { entries: Vec::new(), at: self.table.at.clone() };
        let table = match self.entry(field).map(|entry| &entry.value) {
            None => &absent,
            Some(Value { data: Data::Table(table), .. }) => table,
            Some(value) => {
                let message = format!("`{key}` must be a table, not {}", value.data.kind());
                self.note(value.at.clone(), message, Some(format!("write its keys below a line `[{key}]`")));
                &absent
            }
        };
        let mut reader = TableReader::new(table, schema_of(field), self.code);
        let value = read(&mut reader);
        self.problems.extend(reader.finish());
        value
    }

    /// Reads each table of a list of tables. A key that is absent is an empty list.
    pub fn tables<T>(&mut self, field: &'static Field, mut read: impl FnMut(&mut TableReader<'_>) -> T) -> Vec<T> {
        let key = field.name;
        let Some(entry) = self.entry(field) else { return Vec::new() };
        let Data::List(items) = &entry.value.data else {
            let message = format!("`{key}` must be a list of tables, not {}", entry.value.data.kind());
            self.note(entry.value.at.clone(), message, None);
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items {
            if let Data::Table(table) = &item.data {
                let mut reader = TableReader::new(table, schema_of(field), self.code);
                all.push(read(&mut reader));
                self.problems.extend(reader.finish());
            } else {
                let message = format!("`{key}` must be a list of tables; this is {}", item.data.kind());
                self.note(item.at.clone(), message, None);
            }
        }
        all
    }

    /// Reads each item of a list, which may be a single value or a table. One that is wrong is reported and left out, and so is
    /// a table for which `table` returns `None`. A key that is absent is an empty list.
    pub fn values_or_tables<T>(
        &mut self,
        field: &'static Field,
        value: impl Fn(&Value) -> Result<T, ValueError>,
        mut table: impl FnMut(&mut TableReader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(entry) = self.entry(field) else { return Vec::new() };
        let list = entry.value.typed();
        let Data::List(items) = &*list else {
            let help = "put it in square brackets: [\"a\", \"b\"]".to_owned();
            let message = format!("`{}`: must be a list, not {}", field.name, list.kind());
            self.note(entry.value.at.clone(), message, Some(help));
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items {
            if let Data::Table(inner) = &item.data {
                let mut reader = TableReader::new(inner, schema_of(field), self.code);
                all.extend(table(&mut reader));
                self.problems.extend(reader.finish());
                continue;
            }
            match value(item) {
                Ok(value) => all.push(value),
                Err(error) => self.note(item.at.clone(), format!("`{}`: {}", field.name, error.message), error.help),
            }
        }
        all
    }

    /// The position of the table.
    #[must_use]
    pub const fn at(&self) -> &'t SourceSpan {
        &self.table.at
    }

    /// Reports an error of this table.
    pub fn note(&mut self, at: SourceSpan, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Diagnostic::new(self.code, at, message).maybe_help(help));
    }

    /// Reports every key that is not in the schema, or that this version does not support, and returns all diagnostics.
    #[must_use]
    pub fn finish(mut self) -> Vec<Diagnostic> {
        for entry in &self.table.entries {
            let mut fields = self.schemas.iter().filter_map(|schema| schema.field(&entry.key));
            if fields.any(|field| !field.acted_on) {
                let message = format!("`{}` is understood, but not supported by this version", entry.key);
                self.problems.push(Diagnostic::new(Code::NotYet, entry.key_at.clone(), message));
            }
            if self.schemas.iter().all(|schema| schema.field(&entry.key).is_none()) {
                let known: Vec<&str> = self.schemas.iter().flat_map(|schema| schema.names()).collect();
                let help = names::did_you_mean(&entry.key, known.iter().copied());
                let message = format!("unknown key `{}`", entry.key);
                self.problems.push(Diagnostic::new(self.code, entry.key_at.clone(), message).maybe_help(help));
            }
        }
        self.problems
    }
}

fn in_range<T: TryFrom<i64>>(number: i64) -> T {
    T::try_from(number).ok().expect("the range of a field fits the type that it is read into")
}

/// The schema of the table that a field holds.
fn schema_of(field: &'static Field) -> &'static Schema {
    field.kind.schema().expect("only fields that hold tables are read as tables")
}

#[cfg(test)]
mod tests {
    use super::super::{duration, list, text};
    use super::*;
    use crate::page::source::schema::schema;

    schema! {
        /// A table.
        mod inner {
            /// A list.
            D = Field::new("d", Kind::List(&Kind::Text));
        }
    }
    schema! {
        /// A file.
        mod outer {
            /// A text.
            A = Field::new("a", Kind::Text);
            /// A duration.
            B = Field::new("b", Kind::Duration);
            /// A name.
            NAME = Field::new("name", Kind::Text);
            /// A table.
            T = Field::new("t", Kind::Table(&inner::SCHEMA));
        }
    }

    #[test]
    fn all_errors_are_reported_at_once_each_at_its_place() {
        let source = Source::new("x.toml", "a = 5\nb = \"soon\"\nnaem = 1\n[t]\nd = [1, 'x']\n");
        let (table, syntax) = Table::parse(&source, 0..source.text.len(), Code::Settings);
        assert_eq!(syntax, []);
        let mut reader = TableReader::new(&table, &outer::SCHEMA, Code::Settings);
        assert_eq!(reader.read(&outer::A, text), None);
        assert_eq!(reader.read(&outer::B, duration), None);
        assert_eq!(reader.read(&outer::NAME, text), None);
        reader.table(&outer::T, |t| assert_eq!(t.read(&inner::D, list(text)), None));
        let found: Vec<_> = reader
            .finish()
            .iter()
            .map(|d| (d.at.source.position(d.at.span.start), d.message.clone(), d.help.clone()))
            .collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0].0, (1, 5));
        assert_eq!(found[1].0, (2, 5));
        assert_eq!(found[2].0, (5, 6));
        assert_eq!(found[3].0, (3, 1));
        assert_eq!(found[3].2.as_deref(), Some("did you mean `name`?"));
    }
}
