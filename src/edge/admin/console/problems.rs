//! Errors and warnings in files, and debug tokens.

use askama::Template;

use super::super::Admin;

#[derive(Template)]
#[template(path = "console/problems.html")]
struct Problems {
    problems: Vec<String>,
    /// The files whose last good version is live.
    last_good: Vec<String>,
}

pub(super) fn render(admin: &Admin) -> askama::Result<String> {
    let live = admin.live.now();
    let problems = live.problems.iter().map(|problem| (admin.render_diagnostic)(problem)).collect();
    Problems { problems, last_good: live.site.last_good.clone() }.render()
}
