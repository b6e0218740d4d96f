//! What a program is started with: its file, its folder and its environment variables.
//! Nothing of the compositor's own environment is passed on but what every program needs.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::page::manifest::on_demand::{EnvValue, PORT, Program};
use crate::secrets;

/// The variables of the compositor that programs get.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// Where programs are looked for if there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds a program: in the folder of its manifest, then on `PATH`. An absolute path is taken as it is, and links are followed.
///
/// # Errors
/// There is no such file, or it is not executable; the message names it.
pub fn find(program: &Program, folder: &Path) -> Result<PathBuf, String> {
    let path = program.env.iter().find_map(|(name, value)| match value {
        EnvValue::Text(text) if name == "PATH" => Some(OsString::from(text)),
        _ => None,
    });
    let path = path.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| DEFAULT_PATH.into());
    find_on(&program.command[0], folder, &path)
}

fn find_on(name: &str, folder: &Path, path: &OsStr) -> Result<PathBuf, String> {
    let own = folder.join(name);
    if is_executable(&own) {
        return Ok(own);
    }
    let is_bare = !name.contains('/');
    if is_bare {
        // An empty entry of `PATH` means the current folder, which is that of the manifest, where it was looked for already.
        let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
        if let Some(found) = folders.map(|folder| folder.join(name)).find(|file| is_executable(file)) {
            return Ok(found);
        }
    }
    if own.is_file() {
        return Err(format!("`{name}` is not executable"));
    }
    let place = if Path::new(name).is_absolute() {
        ""
    } else if is_bare {
        " in the folder of the manifest or on PATH"
    } else {
        " in the folder of the manifest"
    };
    Err(format!("there is no program `{name}`{place}"))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The environment variables of a program that is to listen on a port. Secrets are looked up now.
///
/// # Errors
/// A secret is missing; the message names the variable and the reference.
pub(super) fn variables(program: &Program, root: &Path, port: u16) -> Result<Vec<(OsString, OsString)>, String> {
    let passed = PASSED_ON.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut all: Vec<(OsString, OsString)> = passed.collect();
    for (name, value) in &program.env {
        let value = match value {
            EnvValue::Text(text) => text.clone(),
            EnvValue::Reference(reference) => secrets::look_up(reference, root)
                .map(|secret| secret.reveal().to_owned())
                .map_err(|error| format!("run.env.{name}: {error}"))?,
        };
        all.retain(|(known, _)| known != OsStr::new(name));
        all.push((name.into(), value.into()));
    }
    all.push((PORT.into(), port.to_string().into()));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        std::fs::write(path, "").expect("a file");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn a_program_is_looked_for_in_the_folder_first_and_then_on_path() {
        let root = tempfile::tempdir().expect("a folder");
        let (own, bin) = (root.path().join("own"), root.path().join("bin"));
        for (path, mode) in [
            ("own/a", 0o755),
            ("bin/a", 0o755),
            ("bin/b", 0o755),
            ("own/b", 0o644),
            ("own/sub/c", 0o755),
            ("own/d", 0o644),
        ] {
            file(&root.path().join(path), mode);
        }
        std::os::unix::fs::symlink(bin.join("b"), own.join("link")).expect("a link");
        let find = |name: &str| find_on(name, &own, bin.as_os_str());
        assert_eq!(find("a"), Ok(own.join("a")));
        assert_eq!(find("b"), Ok(bin.join("b")), "the one in the folder is not executable");
        assert_eq!(find("sub/c"), Ok(own.join("sub/c")));
        assert_eq!(find("link"), Ok(own.join("link")), "its own path, since a program may look at it");
        let absolute = bin.join("b");
        assert_eq!(find(absolute.to_str().expect("text")), Ok(absolute.clone()));
        assert_eq!(find("d"), Err("`d` is not executable".to_owned()));
        assert_eq!(find("e"), Err("there is no program `e` in the folder of the manifest or on PATH".to_owned()));
        assert_eq!(find("./b2"), Err("there is no program `./b2` in the folder of the manifest".to_owned()));
        assert_eq!(find("/no/such"), Err("there is no program `/no/such`".to_owned()));
        find("sub").expect_err("a folder is not a program");
    }
}
