//! `pasteup new page`: a layout with a route, in the frame of the site.
//! A route that another layout has is refused, and that layout is named.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::Flags;
use crate::page::site::Site;
use crate::page::source::diagnostic::{Code, Source};

use super::super::{site_loading, terminal};
use super::{check_name, listed, write};

/// The options of `pasteup new page`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The page's name: its file is layouts/NAME.html
    name: String,
    /// The pattern of its path; /NAME if left out
    #[arg(long, value_name = "R")]
    route: Option<String>,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let Options { name, route } = options;
    check_name(name)?;
    let folder = site_loading::open(site)?;
    let route = route.clone().unwrap_or_else(|| format!("/{name}"));
    let loaded = site_loading::load(&folder, Flags::default(), None, site_loading::offline);
    let mut files = folder.files();
    let frames = files.layouts.iter().filter_map(|source| source.file.strip_prefix("layouts/"));
    let frame = frames.filter(|file| file.starts_with("frames/")).min().map(str::to_owned);
    let text = layout(name, &route, frame.as_deref());
    let file = format!("layouts/{name}.html");
    // The page is read with all others before it is written, so that whatever is wrong with its route is known.
    files.layouts.push(Source::new(file.clone(), text.clone()));
    let site = Site::build(&files, &loaded.settings.limits, None);
    let is_about_route = |code| matches!(code, Code::BadRoute | Code::DuplicateRoute | Code::FrontMatter);
    let problem = site.problems.iter().find(|problem| problem.at.source.file == file && is_about_route(problem.code));
    if let Some(problem) = problem {
        return Err(problem.message.clone());
    }
    let files = [(PathBuf::from(&file), text)];
    write(folder.root(), &files)?;
    terminal::print(format_args!(
        "{}next: `pasteup dev`, and open {route}; put parts on it with <fragment name=\"…\">\n",
        listed(Path::new(""), &files)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The layout of a page: in a frame, or a whole document.
pub(super) fn layout(title: &str, route: &str, frame: Option<&str>) -> String {
    let frame_key = frame.map(|frame| format!("frame = {frame:?}\n")).unwrap_or_default();
    let head = format!("+++\nroute = {route:?}\ntitle = {title:?}\n{frame_key}+++\n");
    let main = format!("<main>\n  <h1>{title}</h1>\n</main>\n");
    match frame {
        Some(_) => format!("{head}{main}"),
        None => format!(
            "{head}<!doctype html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  \
             <meta name=\"viewport\" content=\"width=device-width\">\n  <title>{title}</title>\n</head>\n<body>\n\
             {main}</body>\n</html>\n"
        ),
    }
}
