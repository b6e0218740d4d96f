//! Which changed settings take effect after a restart only, because they are read at the start.
//! A setting that is not compared here is live as soon as it is read.

use super::Settings;

impl Settings {
    /// The tables and keys that are read at the start only, and that differ from those of `before`.
    #[must_use]
    pub fn waiting_for_restart(&self, before: &Self) -> Vec<&'static str> {
        let differ = [
            ("[server]", self.server != before.server),
            ("[cache]", self.cache_memory != before.cache_memory || self.shared != before.shared),
            ("[cluster]", self.cluster != before.cluster),
            ("[telemetry]", self.telemetry != before.telemetry),
            ("page.compression", self.compression != before.compression),
            ("upstreams.private", self.private_upstreams != before.private_upstreams),
            ("discovery.resolver", self.discovery.resolver != before.discovery.resolver),
            ("on_demand.cache", self.component_cache != before.component_cache),
        ];
        differ.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}
