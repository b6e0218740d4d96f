//! `pasteup reference`: writes the reference of settings, manifests, front matter and elements from their schemas.
//! With `--check` nothing is written, and a file that differs is reported.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config;
use crate::page::layout::syntax::front_matter;
use crate::page::layout::syntax::markup::schema::{ELEMENTS, ESI_ELEMENTS, Element};
use crate::page::manifest;
use crate::page::source::schema::{DefaultValue, Field, Kind, Schema};

use super::exit::PROBLEMS_FOUND;
use super::terminal;

#[derive(clap::Args)]
pub(super) struct Options {
    /// The folder of the reference
    #[arg(value_name = "DIR", default_value = "docs/reference")]
    folder: PathBuf,
    /// Writes nothing, and fails if a file differs
    #[arg(long)]
    check: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, String> {
    let folder = &options.folder;
    if options.check {
        let differs =
            |(name, text): &(&str, String)| std::fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text);
        let stale: Vec<&str> = pages().iter().filter(|page| differs(page)).map(|(name, _)| *name).collect();
        for name in &stale {
            let name = folder.join(name);
            terminal::message(format_args!("{} is not current: run `make reference`", name.display()));
        }
        return Ok(if stale.is_empty() { ExitCode::SUCCESS } else { PROBLEMS_FOUND.into() });
    }
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, text) in pages() {
        std::fs::write(folder.join(name), text).map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of the reference, by name.
fn pages() -> [(&'static str, String); 4] {
    [
        ("settings.md", settings()),
        ("manifest.md", manifest()),
        ("front-matter.md", front_matter()),
        ("elements.md", elements()),
    ]
}

const NOTICE: &str = "<!-- Written by `make reference` from the program's schemas. Do not edit. -->\n\n";

const SETTINGS: &str = "\
# Settings

The settings of a site are in `pasteup.toml`, in the site's folder. Every key has a default, and an unknown key is an error.

An environment variable overrides the file, and a flag overrides both. The variable for `server.listen` is
`PASTEUP_SERVER__LISTEN`: the name of the table, two underscores, and the key. A variable without two underscores is not a
setting. In the environment a string needs no quotation marks; a list is written as in TOML.

Pasteup does not start while the settings have an error. If an error appears while it runs, it keeps the settings it has.
";

const MANIFEST: &str = "\
# Manifest

A nanoservice is declared in `fragments/NAME/fragment.toml`. Only `name`, `version` and `endpoint` are needed. Several folders
may have versions of one name.

The same keys as JSON, `{\"fragments\": [{…}]}`, at `/.well-known/fragments.json` declare a nanoservice to every site whose
setting `discovery.manifests` lists it. Such a source may not set `auth`, `command` or `component`. It may set `html = \"raw\"`,
`cookies`, cookies and headers in `context`, and fragments of others in `composes` only if the site's operator grants it that.
";

const FRONT_MATTER: &str = "\
# Front matter

A layout may begin with settings in TOML, between two lines `+++`. The first line of the file must be `+++`. An unknown key is
an error.

The keys `budget`, `query`, `max_age`, `schedule` and `experiment` have an effect only in the file of a page, or in one that
replaces it by `schedule`.
";

const ELEMENTS_INTRO: &str = "\
# Elements

These are the elements of layouts. Everything else in a layout reaches the browser byte for byte. An attribute that an element
does not have is an error. `<fragment … />` is the same as `<fragment …></fragment>`.

The conditions `device`, `region`, `locale` and `variant` take one word or several, or `not` and words.

The HTML of a nanoservice may have `<fragment>` elements too, with the same attributes except `src`, if its manifest lists them
in `composes`. Braces in their `data-` attributes have no meaning.
";

const ESI_INTRO: &str = "
# ESI

With `esi = true` in the front matter, the elements of ESI 1.0 are processed as well. `<!--esi … -->` is replaced by its content.
";

const NOTATION: &str = "
## Notation

| value | for example | meaning |
|---|---|---|
| duration | `250ms`, `5s`, `10m`, `1h`, `1d`, `1h30m` | a number always has a unit; `0` is allowed unless the table states otherwise; at most 365 days |
| size | `512B`, `64KiB`, `1MiB`, `1GiB` | at most 1 TiB |
| time | `2026-12-24T18:00:00Z`, `2026-12-24T18:00:00+01:00` | with its offset from UTC (RFC 3339) |
| name | `weather`, `top-stories` | letters, digits, `-`, `_` and `.`, at most 100 characters |
| version, version range | `3.1.0`; `*`, `^3.2`, `~1.4`, `>=2, <4` | semantic versions (semver.org) |
| reference to a secret | `env:NAME`, `file:PATH` | an environment variable, or a file below the site's folder |
";

fn settings() -> String {
    let mut page = format!("{NOTICE}{SETTINGS}");
    for field in config::schema::file::SCHEMA.fields {
        section(&mut page, field, "");
    }
    page + NOTATION
}

fn manifest() -> String {
    let mut page = format!("{NOTICE}{MANIFEST}");
    table(&mut page, &manifest::schema::file::SCHEMA, "key", "");
    page + NOTATION
}

fn front_matter() -> String {
    let mut page = format!("{NOTICE}{FRONT_MATTER}");
    table(&mut page, &front_matter::file::SCHEMA, "key", "");
    page + NOTATION
}

fn elements() -> String {
    let mut page = format!("{NOTICE}{ELEMENTS_INTRO}");
    let add = |page: &mut String, element: &Element| {
        page.push_str(&format!("\n## `<{}>`\n\n{}\n", element.name, element.schema.about));
        if !element.schema.fields.is_empty() {
            table(page, element.schema, "attribute", "");
        }
    };
    ELEMENTS.iter().for_each(|element| add(&mut page, element));
    page.push_str(ESI_INTRO);
    ESI_ELEMENTS.iter().for_each(|element| add(&mut page, element));
    page + NOTATION
}

/// Adds the section of a field that holds tables. `path` leads to the table that it is in.
fn section(page: &mut String, field: &Field, path: &str) {
    let path = format!("{path}{}", field.name);
    let (title, path) = match &field.kind {
        Kind::Tables(_) | Kind::ValuesOrTables(..) => (format!("[[{path}]]"), path),
        Kind::Map(key, _) => (format!("[{path}.{key}]"), format!("{path}.{key}")),
        _ => (format!("[{path}]"), path),
    };
    let schema = field.kind.schema().expect("only fields that hold tables have a section");
    page.push_str(&format!("\n## `{title}`\n\n{}\n", schema.about));
    table(page, schema, "key", &format!("{path}."));
}

/// Adds the table of a schema, and the sections of the tables in it.
fn table(page: &mut String, schema: &Schema, what: &str, path: &str) {
    page.push_str(&format!("\n| {what} | value | default | meaning |\n|---|---|---|---|\n"));
    schema.fields.iter().for_each(|field| row(page, field));
    for field in schema.fields {
        if let Kind::Variant(variants) = &field.kind {
            for (word, schema) in *variants {
                page.push_str(&format!("\n### `{} = \"{word}\"`\n\n{}\n", field.name, schema.about));
                if !schema.fields.is_empty() {
                    table(page, schema, what, path);
                }
            }
        }
        if field.kind.schema().is_some() {
            section(page, field, path);
        }
    }
}

fn row(page: &mut String, field: &Field) {
    let default = match field.default {
        DefaultValue::Words(words) => words.to_owned(),
        DefaultValue::Nothing if field.required => "required".to_owned(),
        DefaultValue::Nothing => "none".to_owned(),
        DefaultValue::Value(_) | DefaultValue::From(_) => {
            let value = field.default.value().expect("a default of this kind has a value");
            format!("`{}`", field.kind.toml(&value))
        }
    };
    let mut meaning = field.doc.to_owned();
    if let Some(example) = field.example {
        meaning.push_str(&format!(" Example: `{example}`."));
    }
    if !field.acted_on {
        meaning.push_str(" **Read and checked, but not supported by this version.**");
    }
    let cells = [format!("`{}`", field.name), field.kind.label(), default, meaning];
    page.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_current() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
        for (name, text) in pages() {
            let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(written == text, "docs/reference/{name} is not current: run `make reference`");
        }
    }
}
