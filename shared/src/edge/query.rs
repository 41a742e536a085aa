//! Query strings. Bad and out-of-range values are a 400 that names the parameter; unknown parameters are ignored.

use std::{collections::BTreeMap, ops::RangeInclusive};

use axum::{
    extract::{FromRequestParts, rejection::QueryRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{Reject, body::wrong_field};
use crate::{
    clock::{DAY_MS, Millis},
    error::{Error, Kind, Result},
    store::Cursor,
};

/// A query string as a structure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Reject> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(refuse(&rejection).into()),
        }
    }
}

fn refuse(rejection: &QueryRejection) -> Error {
    let mut cause = std::error::Error::source(rejection);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<serde_path_to_error::Error<serde::de::value::Error>>() {
            return wrong_field(&error.path().to_string(), &error.inner().to_string());
        }
        cause = error.source();
    }
    Error::new(Kind::Invalid, "BAD_REQUEST", "The query string is not valid")
}

/// A query string by name, with parsers for what the contract uses everywhere. Of a repeated parameter the last counts.
#[derive(Debug, Clone, Default)]
pub struct Params(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The parameter's text; `None` when absent or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A whole number within the range.
    pub fn number(&self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> Result<u64> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            let message = match *high {
                u64::MAX => format!("{name} must be a number not lower than {low}"),
                high => format!("{name} must be a number from {low} to {high}"),
            };
            Error::invalid(name, message)
        })
    }

    /// `limit`: 1 to `max`.
    pub fn limit(&self, max: u64, default: u64) -> Result<usize> {
        // Limits are at most some thousands.
        Ok(usize::try_from(self.number("limit", 1..=max, default)?).unwrap_or(usize::MAX))
    }

    /// `skip`: how many items to pass over.
    pub fn skip(&self) -> Result<usize> {
        Ok(usize::try_from(self.number("skip", 0..=u64::from(u32::MAX), 0)?).unwrap_or(usize::MAX))
    }

    /// `true` or `false`; also `1` and `0`.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool> {
        match self.text(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(Error::invalid(name, format!("{name} must be true or false"))),
        }
    }

    /// A moment in ISO 8601.
    pub fn time(&self, name: &'static str) -> Result<Option<Millis>> {
        let parse = |text| {
            Millis::parse(text).ok_or_else(|| {
                Error::invalid(name, format!("{name} must be an ISO 8601 time such as 2023-01-01T12:00:00Z"))
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// `startDate` and `endDate`, both inclusive. An `endDate` without a time of day means the end of that day.
    pub fn dates(&self) -> Result<(Option<Millis>, Option<Millis>)> {
        let start = self.time("startDate")?;
        let mut end = self.time("endDate")?;
        if let Some(end) = &mut end
            && self.text("endDate").is_some_and(|text| !text.contains('T'))
        {
            end.0 += DAY_MS - 1;
        }
        match (start, end) {
            (Some(start), Some(end)) if end < start => {
                Err(Error::invalid("endDate", "endDate must not be before startDate"))
            }
            both => Ok(both),
        }
    }

    /// A comma-separated list; empty when absent.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let items = self.text(name).map(|text| text.split(',').map(str::trim).filter(|item| !item.is_empty()));
        items.into_iter().flatten().collect()
    }

    /// One of the given words.
    pub fn one_of<T: Clone>(&self, name: &'static str, words: &[(&str, T)], default: T) -> Result<T> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
        found.ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            Error::invalid(name, format!("{name} must be one of {}", words.join(", ")))
        })
    }

    /// A cursor as an earlier page gave it.
    pub fn cursor(&self, name: &'static str) -> Result<Option<Cursor>> {
        let decode = |text| Cursor::decode(text).ok_or_else(|| Error::invalid(name, format!("{name} is not valid")));
        self.text(name).map(decode).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn structures_name_the_wrong_parameter() {
        #[derive(Debug, Deserialize)]
        struct Page {
            page: Option<u32>,
            guid: String,
        }
        let read = |query: &str| {
            let uri = format!("/x?{query}").parse().expect("a URI");
            axum::extract::Query::<Page>::try_from_uri(&uri).map_err(|rejection| refuse(&rejection))
        };
        let page = read("guid=a&page=2&other=1").expect("reads");
        assert_eq!((page.page, page.guid.as_str()), (Some(2), "a"));
        assert_eq!(read("guid=a&page=two").expect_err("wrong").field.as_deref(), Some("page"));
        assert_eq!(read("page=2").expect_err("missing").field.as_deref(), Some("guid"));
    }

    #[test]
    fn parameters_have_ranges() {
        let params = Params::parse("limit=50&skip=7&x=&actions=a,%20b,,c&period=week&wait=21");
        assert_eq!((params.limit(200, 100).ok(), params.skip().ok()), (Some(50), Some(7)));
        assert_eq!(params.list("actions"), ["a", "b", "c"]);
        assert_eq!(params.number("x", 0..=1, 1).ok(), Some(1));
        assert_eq!(params.one_of("period", &[("day", 1), ("week", 7)], 1).ok(), Some(7));
        assert!(params.one_of("period", &[("day", 1)], 1).is_err());
        let error = params.number("wait", 0..=20, 0).expect_err("out of range");
        assert_eq!(
            (error.field.as_deref(), error.message.as_ref()),
            (Some("wait"), "wait must be a number from 0 to 20")
        );
        for bad in ["limit=0", "limit=201", "limit=-1", "limit=ten", "limit=1.5"] {
            assert!(Params::parse(bad).limit(200, 100).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_are_inclusive() {
        let dates = |query: &str| Params::parse(query).dates();
        let (start, end) = dates("startDate=2023-01-01&endDate=2023-01-01").expect("reads");
        assert_eq!(start.map(Millis::iso).as_deref(), Some("2023-01-01T00:00:00.000Z"));
        assert_eq!(end.map(Millis::iso).as_deref(), Some("2023-01-01T23:59:59.999Z"));
        let (_, end) = dates("endDate=2023-01-01T12:00:00.000Z").expect("reads");
        assert_eq!(end.map(Millis::iso).as_deref(), Some("2023-01-01T12:00:00.000Z"));
        assert!(dates("startDate=yesterday").is_err() && dates("startDate=2023-01-02&endDate=2023-01-01").is_err());
    }
}
