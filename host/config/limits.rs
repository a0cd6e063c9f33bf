//! `[limits]`, in `windlass.toml` (defaults and ceilings) and in a plugin's file.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::job::units::{ByteSize, TimeSpan};

#[macro_use]
mod table;

/// One row of the table of limits, as people read it.
#[derive(Clone, Copy, Debug)]
pub struct LimitRow {
    /// The key.
    pub name: &'static str,
    /// The default, or which other limits it is made of.
    pub default: &'static str,
    /// The least that it can be set to.
    pub least: &'static str,
    /// The most that it can be set to.
    pub most: &'static str,
    /// What it limits.
    pub meaning: &'static str,
    /// What happens at the limit.
    pub reached: &'static str,
    /// Whether a plugin's file may narrow it.
    pub in_plugin_file: bool,
}

macro_rules! settings {
    (
        own { $($own:ident: $own_type:ty, $own_default:literal, $own_least:literal, $own_most:literal,
            $own_doc:literal, $own_reached:literal);* }
        follow { $($tied:ident: $tied_type:ty, $leader:ident, $doubled:ident, $tied_least:literal, $tied_most:literal,
            $tied_doc:literal, $tied_reached:literal);* }
        host { $($host:ident: $host_type:ty, $host_default:literal, $host_least:literal, $host_most:literal,
            $host_doc:literal, $host_reached:literal);* }
    ) => {
        /// What an attempt may use: the default of every plugin and the ceiling of what a plugin's file or a job can
        /// ask for.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits {
            $(#[doc = concat!($own_doc, " ", $own_least, " to ", $own_most, ".")] pub $own: $own_type,)*
            $(
                #[doc = concat!($tied_doc, " ", $tied_least, " to ", $tied_most, "; unless set, that of `",
                    stringify!($leader), "`, or twice that of `", stringify!($doubled), "` where this is more.")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $tied: Option<$tied_type>,
            )*
            $(#[doc = concat!($host_doc, " ", $host_least, " to ", $host_most, ".")] pub $host: $host_type,)*
        }

        /// What a plugin's file says of its limits, none above the host's.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct LimitOverride {
            $(#[doc = concat!("See [`Limits::", stringify!($own), "`].")] pub $own: Option<$own_type>,)*
            $(#[doc = concat!("See [`Limits::", stringify!($tied), "`].")] pub $tied: Option<$tied_type>,)*
        }

        /// What one attempt may use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
        #[schema(as = PluginLimits)]
        pub struct AttemptLimits {
            $(#[doc = $own_doc] pub $own: $own_type,)*
            $(#[doc = $tied_doc] pub $tied: $tied_type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self {
                    $($own: of_table($own_default),)*
                    $($tied: None,)*
                    $($host: of_table($host_default),)*
                }
            }
        }

        impl Limits {
            /// The table, row by row.
            pub const TABLE: &[LimitRow] = &[
                $(LimitRow {
                    name: stringify!($own), default: $own_default, least: $own_least, most: $own_most,
                    meaning: $own_doc, reached: $own_reached, in_plugin_file: true,
                },)*
                $(LimitRow {
                    name: stringify!($tied),
                    default: concat!(
                        "that of `", stringify!($leader), "`, or twice that of `", stringify!($doubled), "` where this is more"
                    ),
                    least: $tied_least, most: $tied_most,
                    meaning: $tied_doc, reached: $tied_reached, in_plugin_file: true,
                },)*
                $(LimitRow {
                    name: stringify!($host), default: $host_default, least: $host_least, most: $host_most,
                    meaning: $host_doc, reached: $host_reached, in_plugin_file: false,
                },)*
            ];

            /// The most that each can be set to; what holds for the whole host is as by default.
            #[must_use]
            pub fn widest() -> Self {
                Self { $($own: of_table($own_most),)* ..Self::default() }
            }

            /// The limits of a plugin whose file says `narrower`.
            #[must_use]
            pub fn attempt(&self, narrower: &LimitOverride) -> AttemptLimits {
                $(let $own = narrower.$own.unwrap_or(self.$own).min(self.$own);)*
                AttemptLimits {
                    $($tied: narrower.$tied.or(self.$tied).unwrap_or_else(|| roomy($leader, $doubled))
                        .min(self.$tied.unwrap_or_else(|| roomy(self.$leader, self.$doubled)))
                        .min(of_table($tied_most)),)*
                    $($own,)*
                }
            }

            /// Checks that a plugin's file asks for no more than the host gives.
            ///
            /// # Errors
            /// Names the key, the value and the ceiling.
            pub fn admits(&self, narrower: &LimitOverride) -> Result<(), String> {
                $(below(concat!("limits.", stringify!($own)), narrower.$own, of_table($own_least), self.$own)?;)*
                $(below(
                    concat!("limits.", stringify!($tied)),
                    narrower.$tied,
                    of_table($tied_least),
                    self.$tied.unwrap_or_else(|| roomy(self.$leader, self.$doubled)),
                )?;)*
                Ok(())
            }

            pub(super) fn validate(&self) -> Result<(), String> {
                $(within(concat!("limits.", stringify!($own)), self.$own, $own_least, $own_most)?;)*
                $(if let Some(value) = self.$tied {
                    within(concat!("limits.", stringify!($tied)), value, $tied_least, $tied_most)?;
                })*
                $(within(concat!("limits.", stringify!($host)), self.$host, $host_least, $host_most)?;)*
                Ok(())
            }
        }

        impl LimitOverride {
            /// A file that says just these limits.
            #[must_use]
            pub fn of(limits: &Limits) -> Self {
                Self { $($own: Some(limits.$own),)* $($tied: limits.$tied,)* }
            }

            /// What `narrower` says, and this where it says nothing.
            #[must_use]
            pub fn overridden(&self, narrower: &Self) -> Self {
                Self {
                    $($own: narrower.$own.or(self.$own),)*
                    $($tied: narrower.$tied.or(self.$tied),)*
                }
            }
        }
    };
}

limits_table!(settings);

/// The larger of them, the second one doubled: a response in a result is in base64, or has what JSON escapes.
fn roomy(one: ByteSize, doubled: ByteSize) -> ByteSize {
    one.max(ByteSize(doubled.0.saturating_mul(2)))
}

/// A value of the table.
fn of_table<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| unreachable!("the table's values are of their types: {text}"))
}

fn within<T: PartialOrd + Display + FromStr>(key: &str, value: T, least: &str, most: &str) -> Result<(), String> {
    super::file::within(key, value, of_table(least), of_table(most))
}

fn below<T: PartialOrd + Display>(key: &str, asked: Option<T>, least: T, ceiling: T) -> Result<(), String> {
    match asked {
        Some(asked) if asked > ceiling => Err(format!(
            "{key}: {asked} is above the host's ceiling of {ceiling}; raise {key} in windlass.toml or ask for less"
        )),
        Some(asked) if asked < least => Err(format!("{key} is {asked}; it must be at least {least}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
