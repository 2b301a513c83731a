//! Data messages that arrived together and are handled together.
//!
//! A read brings thousands of short messages. Handled one by one, each would cost a
//! handle of its own on the buffer that they lie in; a run has one for all.

use std::ops::Range;

use bytes::Bytes;

use super::framing::Message;
use crate::wire::header::HeaderForm;

/// Whole DATA messages, one behind the other as they arrived, headers included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    bytes: Bytes,
    form: HeaderForm,
    /// Where the header of the next message is.
    at: usize,
}

/// What a framer gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel {
    /// A message, or a piece of a long one.
    Message(Message),
    /// Data messages.
    Run(Run),
}

impl Run {
    /// These messages. What is not whole at the end counts for nothing.
    pub fn new(form: HeaderForm, bytes: Bytes) -> Self {
        Self { bytes, form, at: 0 }
    }

    /// What the messages lie in.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the body of the next message lies in [`Run::bytes`].
    pub fn peek(&self) -> Option<Range<usize>> {
        let header = self.form.parse(self.bytes.get(self.at..)?)?;
        let from = self.at + self.form.bytes();
        let to = from.checked_add(header.size as usize)?;
        (to <= self.bytes.len()).then_some(from..to)
    }

    /// The message whose body ends here is done with.
    pub fn pass(&mut self, end: usize) {
        self.at = end;
    }

    /// Bytes of the messages that are left, headers included.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Parcel {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.body.len(),
            Self::Run(run) => run.len(),
        }
    }

    /// Whether there are none: a message without a body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_one_by_one_and_a_torn_end_counts_for_nothing() {
        let bytes = Bytes::from_static(b"\x65\0\x02\0\0\0ab\x65\0\0\0\0\0\x65\0\x05\0\0\0c");
        let mut run = Run::new(HeaderForm::Mini, bytes);
        assert_eq!(run.peek(), Some(6..8));
        assert_eq!(run.peek(), Some(6..8), "until it is passed");
        run.pass(8);
        assert_eq!(run.peek(), Some(14..14));
        run.pass(14);
        assert_eq!((run.peek(), run.len()), (None, 7));
        run.pass(21);
        assert!(run.is_empty() && run.peek().is_none());
    }
}
