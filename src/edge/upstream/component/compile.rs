//! Compiles the file of a component, and checks what it imports and exports.
//! What was compiled before, by whichever process, is read from the cache on disk.

use std::path::Path;
use std::time::Instant;

use wasmtime::component::{Component, types::ComponentItem};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::guest::Guest;
use super::machine::Machine;

/// What a component must export.
const EXPORT: &str = "wasi:http/incoming-handler@0.2";
/// What components are offered.
const OFFERED: &str = "offered are `wasi:http/proxy`, `wasi:cli`, `wasi:filesystem` (without folders) and `wasi:sockets` (which refuse), all 0.2";
/// The first bytes of a binary: `\0asm`, a version, and whether it is a module (0) or a component (1).
const MAGIC: &[u8] = b"\0asm";

/// A component that can be instantiated.
#[derive(Clone)]
pub(super) struct Compiled {
    pub(super) proxy: ProxyPre<Guest>,
    /// The size of its file.
    pub(super) bytes: u64,
    /// How long compiling took.
    pub(super) took_ms: u64,
}

/// Compiles a file, which is `called` so in the manifest. An error says what is wrong, and the cure.
pub(super) fn compile(machine: &Machine, path: &Path, called: &str) -> Result<Compiled, (String, String)> {
    let began = Instant::now();
    let bytes = std::fs::read(path).map_err(|error| {
        let help = "build the component, or correct `component`";
        (format!("`{called}` cannot be read: {error}"), help.to_owned())
    })?;
    check_format(&bytes).map_err(|(why, help)| (format!("`{called}` {why}"), help.to_owned()))?;
    let component = Component::from_binary(machine.engine(), &bytes)
        .map_err(|error| (format!("`{called}` is not a valid component: {error:#}"), "build it again".to_owned()))?;
    for (name, item) in component.component_type().imports(machine.engine()) {
        if let ComponentItem::ComponentInstance(_) = item.ty
            && !is_offered(name)
        {
            return Err((format!("`{called}` imports `{name}`, which is not offered"), OFFERED.to_owned()));
        }
    }
    let linked = machine
        .linker()
        .instantiate_pre(&component)
        .map_err(|error| (format!("`{called}` imports what is not offered: {error:#}"), OFFERED.to_owned()))?;
    let proxy = ProxyPre::new(linked).map_err(|error| {
        let why = format!("`{called}` does not export `{EXPORT}`: {error:#}");
        (why, "build it for the world `wasi:http/proxy`".to_owned())
    })?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Compiled { proxy, bytes: bytes.len() as u64, took_ms })
}

/// Whether an interface is one of those that are offered.
fn is_offered(name: &str) -> bool {
    const PACKAGES: [&str; 7] =
        ["wasi:http/", "wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/", "wasi:sockets/"];
    PACKAGES.iter().any(|package| name.starts_with(package))
        && name.rsplit_once('@').is_some_and(|(_, version)| version.starts_with("0.2."))
}

fn check_format(bytes: &[u8]) -> Result<(), (&'static str, &'static str)> {
    let help = "a component is made with `wasm-tools component new`, or by a toolchain for the target `wasm32-wasip2`";
    match bytes.strip_prefix(MAGIC).and_then(|rest| rest.get(2..4)) {
        Some([1, 0]) => Ok(()),
        Some([0, 0]) => Err(("is a WebAssembly module, and not a component", help)),
        _ => Err(("is not a WebAssembly component", help)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_told_from_a_module_and_from_anything_else() {
        assert_eq!(check_format(b"\0asm\x0d\0\x01\0"), Ok(()));
        for (bytes, expected) in [
            (&b"\0asm\x01\0\0\0"[..], "module"),
            (b"", "is not a WebAssembly component"),
            (b"\0asm", "is not a WebAssembly component"),
            (b"(component)", "is not a WebAssembly component"),
        ] {
            assert!(check_format(bytes).expect_err("it is none").0.contains(expected), "{bytes:?}");
        }
    }

    #[test]
    fn only_the_interfaces_of_wasi_0_2_are_offered() {
        for (name, expected) in [
            ("wasi:http/types@0.2.0", true),
            ("wasi:cli/environment@0.2.8", true),
            ("wasi:http/types@0.3.0", false),
            ("wasi:http/types", false),
            ("wasi:keyvalue/store@0.2.0-draft", false),
            ("example:own/thing@0.2.0", false),
        ] {
            assert_eq!(is_offered(name), expected, "{name}");
        }
    }
}
