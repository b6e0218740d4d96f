//! `pasteup new fragment`: a folder with a manifest, a function file and a test, which runs on demand as it is.
//! A name that another nanoservice has is refused, and its manifest is named.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::config::Flags;
use crate::page::source::names;

use super::super::{site_loading, terminal};
use super::{NewFile, check_name, listed, write};

/// The options of `pasteup new fragment`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The nanoservice's name in layouts
    name: String,
    /// The language that it is written in; if left out, the first of node, python, go and rust that is on PATH
    #[arg(long, value_enum)]
    lang: Option<Language>,
    /// A parameter that layouts must give
    #[arg(long = "param", value_name = "P")]
    params: Vec<String>,
}

/// A language that a nanoservice can be made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Node, without packages
    Node,
    /// Python 3, without packages
    Python,
    /// Go, without modules
    Go,
    /// Rust, without crates
    Rust,
    /// C, built with `make` into a WebAssembly component
    CComponent,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let Options { name, lang, params } = options;
    check_name(name)?;
    for param in params {
        if !names::is_name(param) || param.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(format!(
                "`{}` is not a valid parameter: use {}, in lower case",
                param.escape_debug(),
                names::NAME_RULE
            ));
        }
    }
    let folder = site_loading::open(site)?;
    let loaded = site_loading::load(&folder, Flags::default(), None, site_loading::offline);
    if let Some(manifest) = loaded.site.catalogue.versions(name).next() {
        return Err(format!("the nanoservice `{name}` is declared already, in {}", manifest.at.source.file));
    }
    let own = PathBuf::from("fragments").join(name);
    if folder.root().join(&own).symlink_metadata().is_ok() {
        return Err(format!("{} is there already, and nothing is overwritten", own.display()));
    }
    let language = lang.map_or_else(Language::first_on_path, Ok)?;
    let files = language.files(name, params);
    write(&folder.root().join(&own), &files)?;
    let build = match language {
        Language::CComponent => format!("make -C {}, then ", folder.root().join(&own).display()),
        _ => String::new(),
    };
    let attributes: String = params.iter().map(|param| format!(" data-{param}=\"example\"")).collect();
    terminal::print(format_args!(
        "{}next: {build}put <fragment name=\"{name}\"{attributes}>…</fragment> into a layout, and run `pasteup dev`; \
         `pasteup conform {name}` checks it\n",
        listed(&own, &files)
    ))?;
    Ok(ExitCode::SUCCESS)
}

impl Language {
    /// The first language whose program is on `PATH`.
    pub(super) fn first_on_path() -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
        let is_usable = |language: &&Self| language.program().is_some_and(is_there);
        Self::value_variants().iter().find(is_usable).copied().ok_or_else(|| {
            let programs: Vec<&str> = Self::value_variants().iter().filter_map(|language| language.program()).collect();
            format!("none of {} is on PATH; install one, or choose with `--lang`", programs.join(", "))
        })
    }

    /// The program that runs it. `None`: it is built first.
    const fn program(self) -> Option<&'static str> {
        match self {
            Self::Node => Some("node"),
            Self::Python => Some("python3"),
            Self::Go => Some("go"),
            Self::Rust => Some("cargo"),
            Self::CComponent => None,
        }
    }

    /// The files of a nanoservice in this language.
    pub(super) fn files(self, name: &str, params: &[String]) -> Vec<NewFile> {
        let (runnable, run, templates): (&str, &str, &[(&str, &str)]) = match self {
            Self::Node => (
                "command = [\"node\", \"fragment.js\"]",
                "",
                &[
                    ("fragment.js", include_str!("../../../templates/new/fragment.js")),
                    ("fragment.test.js", include_str!("../../../templates/new/fragment.test.js")),
                ],
            ),
            Self::Python => (
                "command = [\"python3\", \"fragment.py\"]",
                "",
                &[
                    ("fragment.py", include_str!("../../../templates/new/fragment.py")),
                    ("test_fragment.py", include_str!("../../../templates/new/test_fragment.py")),
                ],
            ),
            Self::Go => (
                "command = [\"go\", \"run\", \".\"]",
                "\n[run]\nstart_timeout = \"2m\"   # it is built first\n",
                &[
                    ("main.go", include_str!("../../../templates/new/main.go")),
                    ("main_test.go", include_str!("../../../templates/new/main_test.go")),
                    ("go.mod", "module fragment\n\ngo 1.21\n"),
                ],
            ),
            Self::Rust => (
                "command = [\"cargo\", \"run\", \"--quiet\"]",
                "\n[run]\nstart_timeout = \"2m\"   # it is built first\n",
                &[
                    ("src/main.rs", include_str!("../../../templates/new/main.rs")),
                    (
                        "Cargo.toml",
                        "[package]\nname = \"fragment\"\nversion = \"1.0.0\"\nedition = \"2021\"\npublish = false\n\n\
                         # Not a part of any workspace around it.\n[workspace]\n",
                    ),
                    // Cargo would write it, which `dev` would take for a change.
                    (
                        "Cargo.lock",
                        "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = 4\n\n[[package]]\nname = \"fragment\"\nversion = \"1.0.0\"\n",
                    ),
                    (".gitignore", "/target\n"),
                ],
            ),
            // What joins it to wasi:http is that of the sample site's almanac.
            Self::CComponent => (
                "component = \"fragment.wasm\"",
                "",
                &[
                    ("fragment.c", include_str!("../../../templates/new/fragment.c")),
                    ("http.c", include_str!("../../../fragments/almanac/http.c")),
                    ("http.h", include_str!("../../../fragments/almanac/http.h")),
                    ("wasi.wit", include_str!("../../../fragments/almanac/wasi.wit")),
                    ("Makefile", include_str!("../../../fragments/almanac/Makefile")),
                    (".gitignore", "/build/\n"),
                ],
            ),
        };
        let mut manifest = format!("name    = \"{name}\"\nversion = \"1.0.0\"\n{runnable}\n{run}");
        for param in params {
            manifest.push_str(&format!("\n[params.\"{param}\"]\npattern  = \"[a-z0-9-]{{1,40}}\"\nrequired = true\n"));
        }
        let example: Vec<String> = params.iter().map(|param| format!("\"{param}\" = \"example\"")).collect();
        manifest.push_str(&format!("\n[[examples]]\nname   = \"an example\"\nparams = {{ {} }}\n", example.join(", ")));
        let list: Vec<String> = params.iter().map(|param| format!("\"{param}\"")).collect();
        let text = |template: &str| {
            let text = template.replace("@NAME@", name).replace("@PARAMS@", &list.join(", "));
            if self == Self::CComponent { text.replace("almanac", "fragment") } else { text }
        };
        let mut files = vec![(PathBuf::from("fragment.toml"), manifest)];
        files.extend(templates.iter().map(|(path, template)| (PathBuf::from(path), text(template))));
        files
    }
}
