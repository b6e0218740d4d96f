//! `pasteup new site`: a folder with one page, one frame, a style sheet and an icon, one nanoservice on demand, and a README.
//! A folder that is not empty is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::terminal;
use super::fragment::Language;
use super::{NewFile, listed, write};

/// The options of `pasteup new site`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The folder to make; it may be there if it is empty
    dir: PathBuf,
}

/// The name of the first nanoservice.
const FIRST: &str = "hello";

const FRAME: &str = "<!doctype html>
<html lang=\"en\">
<head>
  <meta charset=\"utf-8\">
  <meta name=\"viewport\" content=\"width=device-width\">
  <title>A new site</title>
  <link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\">
  <link rel=\"stylesheet\" href=\"/site.css\">
</head>
<body>
<slot></slot>
</body>
</html>
";

const STYLES: &str =
    "body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font-family: sans-serif; line-height: 1.5 }\n";

const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\">
  <rect x=\"2\" y=\"2\" width=\"17\" height=\"28\" rx=\"3\" fill=\"#1f6feb\"/>
  <rect x=\"21\" y=\"2\" width=\"9\" height=\"28\" rx=\"3\" fill=\"#f0883e\"/>
</svg>
";

const FRONT: &str = "+++
route = \"/\"
title = \"A new site\"
frame = \"frames/site.html\"
+++
<main>
  <h1>A new site</h1>
  <fragment name=\"hello\" timeout=\"1500ms\">
    <p>The nanoservice is not ready yet. Load the page again in a moment.</p>
  </fragment>
</main>
";

const README: &str = "# A new site

    pasteup dev

serves it at http://127.0.0.1:8080/, shows the page again whenever you change a file, and outlines what each part is.

| file | what it is |
|---|---|
| `layouts/front.html` | the page at `/`: HTML with a `<fragment>` |
| `layouts/frames/site.html` | what all pages have around them |
| `public/` | files that are served as they are: `public/site.css` at `/site.css` |
| `fragments/hello/` | a nanoservice: a manifest, and a program that Pasteup starts when a page needs it |

- `pasteup new page about` adds a page at `/about`.
- `pasteup new fragment weather --param city` adds a nanoservice; put `<fragment name=\"weather\" data-city=\"oslo\">` on a page.
- `pasteup check` finds mistakes in all files, `pasteup conform hello` checks a nanoservice, `pasteup explain /` tells why a part shows
  what it shows.
- `pasteup serve` serves the site to its readers.
";

pub(super) fn run(options: &Options) -> Result<ExitCode, String> {
    let folder = &options.dir;
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if let Some(entry) = entries.next() {
                let name = entry.map_or_else(|error| error.to_string(), |entry| entry.path().display().to_string());
                return Err(format!("{} is not empty: there is {name}", folder.display()));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    }
    let fragment = Path::new("fragments").join(FIRST);
    let mut files: Vec<NewFile> = vec![
        ("README.md".into(), README.to_owned()),
        // Pasteup keeps its own state there.
        (".gitignore".into(), ".pasteup/\n".to_owned()),
        ("layouts/front.html".into(), FRONT.to_owned()),
        ("layouts/frames/site.html".into(), FRAME.to_owned()),
        ("public/site.css".into(), STYLES.to_owned()),
        ("public/favicon.svg".into(), ICON.to_owned()),
    ];
    files.extend(
        Language::first_on_path()?.files(FIRST, &[]).into_iter().map(|(path, text)| (fragment.join(path), text)),
    );
    write(folder, &files)?;
    terminal::print(format_args!("{}next: pasteup dev --site {}\n", listed(folder, &files), folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
