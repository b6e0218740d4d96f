//! Checks query parameters.
//! A parameter that is missing, unknown or out of range is a 400 that names it.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};

use crate::{Problem, explain};

/// The query, read as `T`. A query that cannot be read so is refused with a 400.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(cause) => Err(Problem::bad_request(explain(&cause))),
        }
    }
}

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Within<MIN, MAX> {
    /// Wraps a number, which must be within the limits: otherwise this panics, or does not compile in a `const` context.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        assert!(MIN <= number && number <= MAX);
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl<const MIN: u32, const MAX: u32> std::fmt::Display for Within<MIN, MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&number) {
            return Ok(Self(number));
        }
        Err(D::Error::custom(format!("{number} is not from {MIN} to {MAX}")))
    }
}

/// A name as it is written in a URL: `New York` becomes `new-york`.
#[must_use]
pub fn slug(name: &str) -> String {
    let spaced = name.to_lowercase().replace(|c: char| !c.is_alphanumeric(), " ");
    spaced.split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(slug("New York"), "new-york");
        assert_eq!(slug("  St. Anne's "), "st-anne-s");
        assert_eq!(slug("Köln"), "köln");
        assert_eq!(slug("--"), "");
    }

    #[test]
    fn numbers_outside_the_limits_are_refused() {
        let read = |text| serde_json::from_str::<Within<1, 7>>(text).map(Within::get);
        assert_eq!(read("7").ok(), Some(7));
        for wrong in ["0", "8", "-1", "1.5", "\"1\"", "99999999999"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
