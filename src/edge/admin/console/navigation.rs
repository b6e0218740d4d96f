//! The navigation of the console: its screens, and how much needs attention on each.
//! It is rendered by itself, since it is updated together with the screen that is open.

use askama::Template;

use crate::page::policy::resilience::health::Health;
use crate::page::policy::rollout::progress::State;

use super::super::Admin;

/// A screen in the navigation.
pub(super) struct Screen {
    /// Its path.
    pub(super) path: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// The paths of the screens that are reached from it, and show one thing each.
    details: &'static [&'static str],
    /// What is counted beside its name.
    badge: Badge,
}

/// What needs attention on a screen.
#[derive(Clone, Copy)]
enum Badge {
    Nothing,
    FailingNanoservices,
    FilesWithErrors,
    VersionsThatWentBack,
}

/// All screens, in their order.
pub(super) const SCREENS: &[Screen] = &[
    Screen { path: "/", name: "Now", details: &[], badge: Badge::Nothing },
    Screen { path: "/fragments", name: "Nanoservices", details: &["/fragment"], badge: Badge::FailingNanoservices },
    Screen { path: "/errors", name: "Errors", details: &[], badge: Badge::Nothing },
    Screen { path: "/pages", name: "Pages", details: &["/page"], badge: Badge::Nothing },
    Screen { path: "/cache", name: "Cache", details: &[], badge: Badge::Nothing },
    Screen { path: "/versions", name: "Versions", details: &[], badge: Badge::VersionsThatWentBack },
    Screen { path: "/map", name: "Map", details: &[], badge: Badge::Nothing },
    Screen { path: "/problems", name: "Problems", details: &[], badge: Badge::FilesWithErrors },
];

/// The paths of all screens.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    SCREENS.iter().flat_map(|screen| [screen.path].into_iter().chain(screen.details.iter().copied()))
}

#[derive(Template)]
#[template(path = "console/navigation.html")]
struct Navigation {
    items: Vec<Item>,
}

struct Item {
    path: &'static str,
    name: &'static str,
    is_current: bool,
    /// How many need attention.
    count: usize,
    /// What they are, in words.
    what: &'static str,
}

/// Renders the navigation as it is on the screen of this path.
pub(super) fn render(admin: &Admin, path: &str) -> askama::Result<String> {
    let item = |screen: &Screen| {
        let (count, what) = count(screen.badge, admin);
        let is_current = screen.path == path || screen.details.contains(&path);
        Item { path: screen.path, name: screen.name, is_current, count, what }
    };
    Navigation { items: SCREENS.iter().map(item).collect() }.render()
}

/// How many need attention, and what they are.
fn count(badge: Badge, admin: &Admin) -> (usize, &'static str) {
    match badge {
        Badge::Nothing => (0, ""),
        Badge::FailingNanoservices => {
            let failing = |health: &Health| *health >= Health::Failing;
            (admin.statistics.health().values().filter(|health| failing(health)).count(), "failing or down")
        }
        Badge::VersionsThatWentBack => {
            let rollouts = admin.compositor.rollouts().statuses(admin.compositor.now());
            (rollouts.iter().filter(|one| one.state == State::RolledBack).count(), "rolled back")
        }
        Badge::FilesWithErrors => {
            let live = admin.live.now();
            let errors = live.problems.iter().filter(|problem| problem.is_error());
            let files = errors.map(|error| &*error.at.source.file).collect::<std::collections::BTreeSet<_>>();
            (files.len(), "with errors")
        }
    }
}
