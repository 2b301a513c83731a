//! What lies between a socket and a channel's bytes: TLS and whatever else wraps them.
//!
//! No I/O: a layer is given bytes of the layer below and says what they carry, and the
//! other way round. [`Stream`](super::stream::Stream) moves the bytes. Whichever thread has
//! the connection.

use std::fmt;
use std::io;

use bytes::{Buf, BytesMut};

use crate::config::limits;

/// One way of wrapping bytes.
pub trait Layer: fmt::Debug + Send {
    /// Unwraps all of `wire` that is complete, appending to `plain`. What has to be
    /// answered is appended to `answer`, also before an error.
    fn unwrap(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> io::Result<State>;

    /// Wraps the bytes, or as many of them as can be wrapped now, appending to `wire`.
    /// Returns how many that were.
    fn wrap(&mut self, plain: &[u8], wire: &mut BytesMut) -> io::Result<usize>;

    /// What is to be said before the connection is closed.
    fn farewell(&mut self, wire: &mut BytesMut);

    /// What it is, for the log.
    fn description(&self) -> String;

    /// Bits of the key that the bytes are encrypted with; `None`: this is no encryption.
    fn strength(&self) -> Option<u32> {
        None
    }
}

/// Whether a layer has seen its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// More may come.
    Open,
    /// The peer said that nothing more will come.
    Ended,
}

/// The layers of one connection.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The one next to the socket first.
    stack: Vec<Wrapped>,
    /// For the socket.
    unsent: BytesMut,
}

#[derive(Debug)]
struct Wrapped {
    layer: Box<dyn Layer>,
    /// Arrived from below and not complete yet.
    arrived: BytesMut,
}

impl Layers {
    /// Whether there are none, so that bytes are what the socket has.
    pub(super) fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// Bits of the key of the encryption, if there is any.
    pub(super) fn strength(&self) -> Option<u32> {
        self.stack.iter().find_map(|wrapped| wrapped.layer.strength())
    }

    /// What they are, the one next to the socket first, for the log.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = String> {
        self.stack.iter().map(|wrapped| wrapped.layer.description())
    }

    /// Puts a layer above the others.
    pub(super) fn push(&mut self, layer: Box<dyn Layer>) {
        self.push_with(layer, BytesMut::new());
    }

    /// The same, when the others gave `arrived` already, which was meant for it.
    pub(super) fn push_with(&mut self, layer: Box<dyn Layer>, arrived: BytesMut) {
        self.stack.push(Wrapped { layer, arrived });
    }

    /// Where bytes from the socket are put; there is at least one layer.
    pub(super) fn arrived(&mut self) -> Option<&mut BytesMut> {
        self.stack.first_mut().map(|lowest| &mut lowest.arrived)
    }

    /// Unwraps what has arrived.
    pub(super) fn unwrap(&mut self, plain: &mut BytesMut) -> io::Result<State> {
        let mut answer = BytesMut::new();
        for at in 0..self.stack.len() {
            let (below, above) = self.stack.split_at_mut(at + 1);
            let Some((own, below)) = below.split_last_mut() else {
                break;
            };
            let target = above.first_mut().map_or(&mut *plain, |above| &mut above.arrived);
            let result = own.layer.unwrap(&mut own.arrived, target, &mut answer);
            if !answer.is_empty() {
                wrap_all(below, &answer, &mut self.unsent)?;
                answer.clear();
                if self.unsent.len() > limits::LAYER_UNSENT {
                    return Err(io::Error::other("the client does not read what it asks for"));
                }
            }
            if result? == State::Ended {
                return Ok(State::Ended);
            }
        }
        Ok(State::Open)
    }

    /// Bytes that they hold: what has arrived and is not whole yet, and what is for the socket.
    pub(super) fn held_bytes(&self) -> usize {
        let arrived: usize = self.stack.iter().map(|wrapped| wrapped.arrived.len()).sum();
        arrived + self.unsent.len()
    }

    /// Whether the socket is to be tried before more is wrapped.
    pub(super) fn is_full(&self) -> bool {
        self.unsent.len() >= limits::LAYER_TURN
    }

    /// Wraps bytes for the socket, a turn's worth at most. Returns how many were taken.
    pub(super) fn wrap(&mut self, plain: &[u8]) -> io::Result<usize> {
        let turn = &plain[..plain.len().min(limits::LAYER_TURN)];
        wrap_by(&mut self.stack, turn, &mut self.unsent)
    }

    /// Wraps all of these bytes, which are few, whatever waits.
    pub(super) fn say(&mut self, words: &[u8]) -> io::Result<()> {
        wrap_all(&mut self.stack, words, &mut self.unsent)
    }

    /// Says goodbye, the uppermost layer first.
    pub(super) fn farewell(&mut self) {
        for at in (0..self.stack.len()).rev() {
            let mut words = BytesMut::new();
            let (below, above) = self.stack.split_at_mut(at);
            if let Some(own) = above.first_mut() {
                own.layer.farewell(&mut words);
            }
            if !words.is_empty() && wrap_by(below, &words, &mut self.unsent).is_err() {
                return;
            }
        }
    }

    /// Bytes for the socket.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The socket took so many of them.
    pub(super) fn consume(&mut self, count: usize) {
        self.unsent.advance(count.min(self.unsent.len()));
    }
}

/// Wraps by one layer after the other, from the top. Only the uppermost may take less
/// than everything: the others are past the point where they could.
fn wrap_by(stack: &mut [Wrapped], plain: &[u8], wire: &mut BytesMut) -> io::Result<usize> {
    let Some((top, below)) = stack.split_last_mut() else {
        wire.extend_from_slice(plain);
        return Ok(plain.len());
    };
    if below.is_empty() {
        return top.layer.wrap(plain, wire);
    }
    let mut wrapped = BytesMut::new();
    let taken = top.layer.wrap(plain, &mut wrapped)?;
    wrap_all(below, &wrapped, wire)?;
    Ok(taken)
}

/// The same for bytes that cannot wait.
fn wrap_all(stack: &mut [Wrapped], plain: &[u8], wire: &mut BytesMut) -> io::Result<()> {
    if wrap_by(stack, plain, wire)? < plain.len() {
        return Err(io::Error::other("a lower layer is not ready"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a length in front of at most nine bytes, and a mark behind.
    #[derive(Debug)]
    struct Frames(u8);

    impl Layer for Frames {
        fn unwrap(
            &mut self,
            wire: &mut BytesMut,
            plain: &mut BytesMut,
            answer: &mut BytesMut,
        ) -> io::Result<State> {
            while let Some(length) = wire.first().map(|byte| usize::from(byte - b'0'))
                && wire.len() >= length + 2
            {
                let frame = wire.split_to(length + 2);
                assert_eq!(frame[length + 1], self.0);
                match &frame[1..=length] {
                    b"ping" => answer.extend_from_slice(&[b"4pong".as_slice(), &[self.0]].concat()),
                    b"end" => return Ok(State::Ended),
                    b"bad" => return Err(io::Error::other("bad")),
                    data => plain.extend_from_slice(data),
                }
            }
            Ok(State::Open)
        }

        fn wrap(&mut self, plain: &[u8], wire: &mut BytesMut) -> io::Result<usize> {
            for part in plain.chunks(9) {
                wire.extend_from_slice(&[b'0' + part.len() as u8]);
                wire.extend_from_slice(part);
                wire.extend_from_slice(&[self.0]);
            }
            Ok(plain.len())
        }

        fn farewell(&mut self, wire: &mut BytesMut) {
            wire.extend_from_slice(b"3end");
            wire.extend_from_slice(&[self.0]);
        }

        fn description(&self) -> String {
            char::from(self.0).to_string()
        }
    }

    fn two() -> Layers {
        let mut layers = Layers::default();
        layers.push(Box::new(Frames(b'x')));
        layers.push(Box::new(Frames(b'y')));
        layers
    }

    fn arrive(layers: &mut Layers, bytes: &[u8]) -> (io::Result<State>, Vec<u8>) {
        layers.arrived().expect("a layer").extend_from_slice(bytes);
        let mut plain = BytesMut::new();
        let state = layers.unwrap(&mut plain);
        (state, plain.to_vec())
    }

    #[test]
    fn layers_wrap_from_the_top_and_unwrap_from_the_bottom() {
        let mut layers = two();
        assert_eq!(layers.wrap(b"abc").expect("wrapped"), 3);
        assert_eq!(layers.unsent(), b"53abcyx");
        layers.consume(7);
        assert!(layers.unsent().is_empty());
        for split in 0..7 {
            let mut layers = two();
            let (first, second) = b"53abcyx".split_at(split);
            let (_, mut plain) = arrive(&mut layers, first);
            plain.extend(arrive(&mut layers, second).1);
            assert_eq!(plain, b"abc", "split at {split}");
        }
    }

    #[test]
    fn an_answer_passes_the_layers_below() {
        let mut layers = two();
        arrive(&mut layers, b"64pingyx").0.expect("a ping of the upper layer");
        assert_eq!(layers.unsent(), b"64pongyx");
        arrive(&mut layers, b"64pi").0.expect("a part of another one");
        assert_eq!(layers.held_bytes(), 8 + 4);
        arrive(&mut layers, b"ngyx").0.expect("the rest");
        layers.consume(16);
        assert_eq!(layers.held_bytes(), 0);
        arrive(&mut layers, b"4pingx").0.expect("a ping of the lower one");
        assert_eq!(layers.unsent(), b"4pongx");
    }

    #[test]
    fn a_turn_is_wrapped_at_once() {
        let mut layers = two();
        let plain = vec![0; 2 * limits::LAYER_TURN];
        assert_eq!(layers.wrap(&plain).expect("wrapped"), limits::LAYER_TURN);
        assert!(layers.is_full());
        layers.consume(usize::MAX);
        assert!(!layers.is_full());
    }

    #[test]
    fn who_asks_without_reading_is_cut() {
        let mut layers = two();
        let (mut asked, mut held) = (0, 0);
        while arrive(&mut layers, b"64pingyx").0.is_ok() {
            asked += 1;
            held = layers.unsent().len();
        }
        assert!(asked > 1000);
        assert!((limits::LAYER_UNSENT - 8..=limits::LAYER_UNSENT).contains(&held));
    }

    #[test]
    fn a_layer_above_gets_what_came_early() {
        let mut layers = Layers::default();
        layers.push(Box::new(Frames(b'x')));
        layers.say(b"first").expect("said");
        layers.push_with(Box::new(Frames(b'y')), b"5ear"[..].into());
        let mut plain = BytesMut::new();
        layers.unwrap(&mut plain).expect("nothing is complete");
        assert!(plain.is_empty());
        assert_eq!(arrive(&mut layers, b"3lyyx").1, b"early");
        assert_eq!(layers.wrap(b"abc").expect("wrapped"), 3);
        assert_eq!(layers.unsent(), b"5firstx53abcyx");
    }

    #[test]
    fn each_layer_says_goodbye() {
        let mut layers = two();
        layers.farewell();
        assert_eq!(layers.unsent(), b"53endyx3endx");
        assert_eq!(arrive(&mut layers, b"53endyx").0.expect("an end"), State::Ended);
        assert!(arrive(&mut two(), b"53badyx").0.is_err());
    }
}
