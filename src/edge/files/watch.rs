//! Watches the files of a site for changes: by the operating system's events, or by reading the files every second.
//! Where the system allows no further watches, that is logged, and the files are read every second instead.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::page::source::schema::Kind;
use crate::page::source::table::{self, Value, ValueError};

use super::{FOLDERS, SiteFolder};

/// How often the site is looked at: at its files where there are no events, otherwise at where its paths lead.
const INTERVAL: Duration = Duration::from_secs(1);

/// How changes of files are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchMode {
    /// By events, or every second where the system's limit of watches is reached.
    #[default]
    Auto,
    /// Every second: some file systems have no events.
    Poll,
    /// Not at all.
    Off,
}

impl WatchMode {
    const ALL: [Self; 3] = [Self::Auto, Self::Poll, Self::Off];

    /// The words for the modes, for schemas.
    pub const KIND: Kind = Kind::Word(&[Self::Auto.as_str(), Self::Poll.as_str(), Self::Off.as_str()]);

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Poll => "poll",
            Self::Off => "off",
        }
    }

    /// Reads a mode.
    ///
    /// # Errors
    /// The value is not one of the words.
    pub fn read(value: &Value) -> Result<Self, ValueError> {
        table::word_for(&Self::KIND, &Self::ALL, Self::as_str)(value)
    }
}

/// Calls a function after every change in a site, until it is dropped.
pub struct Watch {
    folder: SiteFolder,
    mode: WatchMode,
    changed: Arc<dyn Fn() + Send + Sync>,
    events: Option<RecommendedWatcher>,
    looking: Option<Looking>,
    /// Whether it was logged that there are no events.
    is_reported: bool,
}

/// Runs a thread that looks at the site every [`INTERVAL`]. The thread ends when this is dropped.
struct Looking {
    _stop: mpsc::Sender<()>,
}

impl SiteFolder {
    /// Calls `changed` after every change in the site, from [`Watch::renew`] until the watch is dropped.
    #[must_use]
    pub fn watch(&self, mode: WatchMode, changed: impl Fn() + Send + Sync + 'static) -> Watch {
        let changed = Arc::new(changed);
        Watch { folder: self.clone(), mode, changed, events: None, looking: None, is_reported: false }
    }
}

impl Watch {
    /// Begins to watch anew. This is done before each reading of the site: so what changes later is noticed, and whatever
    /// was created or replaced is watched. A replaced folder cannot be told by its inode, which the new one may have too.
    pub fn renew(&mut self) {
        self.release();
        self.looking = None;
        let folder = self.folder.clone();
        self.events = match self.mode {
            WatchMode::Off => return,
            WatchMode::Poll => None,
            WatchMode::Auto => match events(&folder, Arc::clone(&self.changed)) {
                Ok(events) => {
                    if std::mem::take(&mut self.is_reported) {
                        tracing::info!("the site's files are watched again");
                    }
                    Some(events)
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_reported, true) {
                        tracing::warn!(
                            "the site's files cannot be watched ({error}), so they are read every second; on Linux, raise \
                             fs.inotify.max_user_watches and fs.inotify.max_user_instances"
                        );
                    }
                    None
                }
            },
        };
        let changed = Arc::clone(&self.changed);
        self.looking = Some(if self.events.is_some() {
            // Events come from folders, not from the links that lead to them.
            Looking::start(move || folder.place(), changed)
        } else {
            Looking::start(move || folder.fingerprint(), changed)
        });
    }

    /// Gives the watches back at once. Dropping the watcher does so later, and until then they would count twice.
    fn release(&mut self) {
        if let Some(mut events) = self.events.take() {
            for path in paths(&self.folder) {
                // It is not watched if it did not exist.
                let _unwatched = events.unwatch(&path);
            }
        }
    }
}

fn paths(folder: &SiteFolder) -> [std::path::PathBuf; 3] {
    let [layouts, fragments] = FOLDERS.map(|name| folder.root.join(name));
    [folder.root.clone(), layouts, fragments]
}

/// Watches the folders that exist now. Folders are watched, not files, because editors replace files.
// No debouncer is used: it matters only that the events have stopped, not which they were.
fn events(folder: &SiteFolder, changed: Arc<dyn Fn() + Send + Sync>) -> Result<RecommendedWatcher, notify::Error> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // After an error events may have been lost. Reading the site once too often does no harm.
        if event.map_or(true, |event| may_change_content(event.kind)) {
            changed();
        }
    })?;
    let [root, layouts, fragments] = paths(folder);
    for (path, mode) in [
        (root, RecursiveMode::NonRecursive),
        (layouts, RecursiveMode::Recursive),
        (fragments, RecursiveMode::Recursive),
    ] {
        match watcher.watch(&path, mode) {
            // It does not exist, or was removed just now. When it appears, the folder around it changes.
            Err(_) if !path.is_dir() => {}
            result => result?,
        }
    }
    Ok(watcher)
}

/// Whether the content of a file may have changed. Reading a file causes events too.
const fn may_change_content(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_)) || matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

impl Looking {
    /// Looks at something now and every [`INTERVAL`], and calls `changed` whenever it differs.
    // notify's own polling watcher compares whole seconds, or the content of everything that links lead to. This looks at what
    // is read, and at nothing else.
    fn start<T: PartialEq + Send + 'static>(
        look: impl Fn() -> T + Send + 'static,
        changed: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let (stop, stopped) = mpsc::channel();
        let mut last = look();
        std::thread::spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = look();
                if now != last {
                    last = now;
                    changed();
                }
            }
        });
        Self { _stop: stop }
    }
}
