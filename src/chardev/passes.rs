//! How a loop stands that may be entered from inside itself.

/// A loop that calls the device, which may call the library again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Passes {
    /// Nobody is inside.
    #[default]
    Idle,
    /// Running.
    Inside,
    /// Running, and asked to go round once more.
    InsideAgain,
}

impl Passes {
    /// Enters the loop; false when it is running further up the stack, which then
    /// goes round once more.
    pub(super) fn enter(&mut self) -> bool {
        let outside = *self == Self::Idle;
        *self = if outside { Self::Inside } else { Self::InsideAgain };
        outside
    }

    /// Enters the loop unless it is running already.
    pub(super) fn enter_first(&mut self) -> bool {
        self.is_idle() && self.enter()
    }

    /// Whether nobody is inside.
    pub(super) fn is_idle(self) -> bool {
        self == Self::Idle
    }

    /// Whether it was asked to go round again since it was last asked this.
    pub(super) fn again(&mut self) -> bool {
        let asked = *self == Self::InsideAgain;
        if asked {
            *self = Self::Inside;
        }
        asked
    }

    /// Leaves the loop.
    pub(super) fn leave(&mut self) {
        *self = Self::Idle;
    }
}
