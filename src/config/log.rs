//! What the configuration says of the log: which lines, and in which form.
//!
//! Pure values.

use crate::log::{Categories, Category, Level};

/// Which lines are written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    /// The least serious lines that are written.
    pub level: Level,
    /// What the level is for; of everything else there is what there is by default.
    pub categories: Categories,
    /// How lines look.
    pub form: Form,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As GLib's users know it.
    #[default]
    Text,
    /// One JSON object a line, to stderr.
    Json,
}

/// What a section says differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogChange {
    /// See [`LogPolicy::level`].
    pub level: Option<Level>,
    /// See [`LogPolicy::categories`].
    pub categories: Option<Categories>,
    /// See [`LogPolicy::form`].
    pub form: Option<Form>,
}

impl LogPolicy {
    /// What upstream's users see: GLib hides what is less serious than a message.
    pub const DEFAULT: Self =
        Self { level: Level::Message, categories: Categories::ALL, form: Form::Text };

    /// Whether such a line is written.
    pub fn admits(self, level: Level, category: Category) -> bool {
        let least = if self.categories.has(category) { self.level } else { Self::DEFAULT.level };
        level <= least
    }
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl LogChange {
    /// The settings with this change.
    #[must_use]
    pub fn on(self, below: LogPolicy) -> LogPolicy {
        LogPolicy {
            level: self.level.unwrap_or(below.level),
            categories: self.categories.unwrap_or(below.categories),
            form: self.form.unwrap_or(below.form),
        }
    }
}

impl Form {
    /// The form that is written so.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_for_the_categories_that_are_named() {
        let categories = Categories::only([Category::Connection]);
        let loud = LogPolicy { level: Level::Debug, categories, form: Form::Text };
        assert!(loud.admits(Level::Debug, Category::Connection));
        assert!(loud.admits(Level::Message, Category::Agent));
        assert!(!loud.admits(Level::Info, Category::Agent));
        let quiet = LogPolicy { level: Level::Warning, ..loud };
        assert!(!quiet.admits(Level::Message, Category::Connection));
        assert!(quiet.admits(Level::Message, Category::Agent));
        assert!(quiet.admits(Level::Warning, Category::Connection));
    }
}
