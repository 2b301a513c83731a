//! Cursor channels: what their clients may send, and what each has to be told of the
//! pointer (docs/protocol/cursor.md, stream.md).

use bytes::Bytes;

use crate::channel::acks::window_by;
use crate::channel::framing::{BodyRule, Message};
use crate::channel::pipe::{Outgoing, Pipe};
use crate::config::limits;
use crate::wire::common::{self, Common, Malformed};
use crate::wire::cursor::{self, Point, Shape, Trail, to_client};
use crate::wire::migration::MIGRATE;

/// How large a client's messages may be.
pub fn rules(_kind: u16) -> BodyRule {
    BodyRule::Whole(limits::GRAPHICS_MESSAGE)
}

/// What a client's message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Count: the client follows the SET_ACK of this generation.
    Sync(u32),
    /// Count: the client has got a window's worth of messages.
    Ack,
    /// Nothing.
    Nothing,
}

/// Understands one message. There are none but those of all channels.
pub fn handle(message: &Message) -> Result<Request, Malformed> {
    let common = common::parse(message.kind, &message.body);
    common.ok_or(Malformed::Unknown(message.kind))?.map(|common| match common {
        Common::AckSync(generation) => Request::Sync(generation),
        Common::Ack => Request::Ack,
        Common::Pong { .. } | Common::Ignored => Request::Nothing,
    })
}

/// The pointer, and the clients that are told of it.
#[derive(Debug)]
pub struct Pointer {
    place: Point,
    trail: Trail,
    visible: bool,
    picture: Option<(Shape, Bytes)>,
    /// Each with its name, in the order in which they came.
    clients: Vec<(u64, Pipe)>,
    /// Of these the ones that come from another host, and are not to begin again before
    /// they are told to forget the pointer of there.
    moved: Vec<u64>,
}

impl Default for Pointer {
    fn default() -> Self {
        Self {
            place: Point::default(),
            trail: Trail::default(),
            visible: true,
            picture: None,
            clients: Vec::new(),
            moved: Vec::new(),
        }
    }
}

impl Pointer {
    /// A client comes, behind a network of so many bits a second if that is known, and is
    /// told what there is.
    pub fn join(&mut self, key: u64, bit_rate: Option<u64>) {
        let mut pipe = Pipe::new(window_by(bit_rate));
        pipe.push(self.init());
        self.clients.push((key, pipe));
    }

    /// A client comes from another host, where it was told of a pointer: what is known
    /// here is said as a change of that.
    pub fn join_moved(&mut self, key: u64, bit_rate: Option<u64>) {
        let mut pipe = Pipe::new(window_by(bit_rate));
        if let Some((shape, picture)) = &self.picture {
            let head = cursor::set(self.place, self.visible, *shape);
            pipe.push(Outgoing::large(to_client::SET, head, picture.clone()));
        }
        self.clients.push((key, pipe));
        self.moved.push(key);
    }

    /// A client goes to another host: it is to forget what it remembers of this one.
    pub fn send_off(&mut self, key: u64) {
        if let Some(pipe) = self.pipe(key) {
            pipe.push(Outgoing::small(to_client::INVAL_ALL, Vec::new()));
            pipe.close(Outgoing::small(MIGRATE, vec![0; 4]));
        }
    }

    /// A client has gone.
    pub fn leave(&mut self, key: u64) {
        self.clients.retain(|(other, _)| *other != key);
        self.moved.retain(|other| *other != key);
    }

    /// The pointer looks like this from now on. Nothing hides a stream device's, and its
    /// place is told by MOVE; here upstream has zeros.
    pub fn set(&mut self, shape: Shape, picture: &Bytes) {
        self.show(Point::default(), true, shape, picture);
    }

    /// The pointer of a graphics device looks like this from now on. That it is at `place`
    /// is told, but not kept for who comes later: upstream does the same.
    pub fn show(&mut self, place: Point, visible: bool, shape: Shape, picture: &Bytes) {
        self.picture = Some((shape, picture.clone()));
        self.visible = visible;
        let head = cursor::set(place, visible, shape);
        self.tell(&Outgoing::large(to_client::SET, head, picture.clone()));
    }

    /// The guest moves its pointer, which so is to be seen. Unless clients follow the
    /// guest they are told only if they did not see it before.
    pub fn guest_moves(&mut self, place: Point, follow: bool) {
        let appears = !std::mem::replace(&mut self.visible, true);
        if follow || appears {
            self.move_to(place);
        } else {
            self.place = place;
        }
    }

    /// The pointer is not to be seen.
    pub fn hide(&mut self) {
        self.visible = false;
        self.tell(&Outgoing::small(to_client::HIDE, Vec::new()));
    }

    /// What the pointer leaves behind it.
    pub fn set_trail(&mut self, trail: Trail) {
        self.trail = trail;
        self.tell(&Outgoing::small(to_client::TRAIL, cursor::trail(trail)));
    }

    /// Forgets the pointer, but not what it leaves behind it.
    pub fn reset(&mut self) {
        self.place = Point::default();
        self.visible = true;
        self.picture = None;
        for (_, pipe) in &mut self.clients {
            pipe.drop_waiting(&[to_client::SET, to_client::MOVE, to_client::HIDE]);
        }
        self.tell(&Outgoing::small(to_client::INVAL_ALL, Vec::new()));
        self.tell(&Outgoing::small(to_client::RESET, Vec::new()));
        self.moved.clear();
    }

    /// Tells all clients of the pointer as if they had just come.
    pub fn begin_again(&mut self) {
        let (init, moved) = (self.init(), &self.moved);
        tell(self.clients.iter_mut().filter(|(key, _)| !moved.contains(key)), &init);
    }

    fn init(&self) -> Outgoing {
        let (shape, shared) = self.picture.clone().unzip();
        let head = cursor::init(self.place, self.trail, self.visible, shape);
        Outgoing::large(to_client::INIT, head, shared.unwrap_or_default())
    }

    /// The pointer is there from now on.
    pub fn move_to(&mut self, place: Point) {
        self.place = place;
        self.tell(&Outgoing::small(to_client::MOVE, cursor::moved(place)));
    }

    fn tell(&mut self, message: &Outgoing) {
        tell(self.clients.iter_mut(), message);
    }

    /// The next message for a client towards which `queued` bytes are on their way.
    pub fn poll(&mut self, key: u64, queued: usize) -> Option<Outgoing> {
        if queued >= limits::POINTERS_QUEUED {
            return None;
        }
        self.pipe(key)?.poll()
    }

    /// The client follows this SET_ACK.
    pub fn handle_sync(&mut self, key: u64, generation: u32) {
        if let Some(pipe) = self.pipe(key) {
            pipe.handle_sync(generation);
        }
    }

    /// The client has got a window's worth.
    pub fn handle_ack(&mut self, key: u64) {
        if let Some(pipe) = self.pipe(key) {
            pipe.handle_ack();
        }
    }

    fn pipe(&mut self, key: u64) -> Option<&mut Pipe> {
        self.clients.iter_mut().find(|(other, _)| *other == key).map(|(_, pipe)| pipe)
    }
}

/// What waits for a client and is of the same type is out of date.
fn tell<'a>(clients: impl Iterator<Item = &'a mut (u64, Pipe)>, message: &Outgoing) {
    for (_, pipe) in clients {
        pipe.drop_waiting(&[message.kind]);
        pipe.push(message.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::common::SET_ACK;

    const SHAPE: Shape = Shape { kind: 0, width: 2, height: 1, hot_x: 0, hot_y: 0 };

    fn poll_all(pointer: &mut Pointer, key: u64) -> Vec<Outgoing> {
        std::iter::from_fn(|| pointer.poll(key, 0)).collect()
    }

    fn kinds(messages: &[Outgoing]) -> Vec<u16> {
        messages.iter().map(|message| message.kind).collect()
    }

    #[test]
    fn who_comes_is_told_of_the_pointer_as_it_is() {
        let mut pointer = Pointer::default();
        pointer.join(1, None);
        let first = poll_all(&mut pointer, 1);
        assert_eq!(kinds(&first), [SET_ACK, 101]);
        assert_eq!(first[1].head, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
        pointer.set(SHAPE, &Bytes::from_static(b"12345678"));
        pointer.move_to(Point { x: 3, y: 4 });
        assert_eq!(kinds(&poll_all(&mut pointer, 1)), [103, 104]);
        pointer.join(2, None);
        let first = poll_all(&mut pointer, 2);
        assert_eq!(kinds(&first), [SET_ACK, 101]);
        assert_eq!(first[1].head[..4], [3, 0, 4, 0]);
        assert_eq!(first[1].shared, &b"12345678"[..]);
    }

    #[test]
    fn behind_a_slow_network_the_window_is_wider() {
        for (bit_rate, window) in [(Some(limits::SLOW_NETWORK - 1), 40), (None, 20)] {
            let mut pointer = Pointer::default();
            pointer.join(1, bit_rate);
            pointer.join_moved(2, bit_rate);
            for key in [1, 2] {
                let first = pointer.poll(key, 0).expect("SET_ACK");
                assert_eq!(first.head[4..], [window, 0, 0, 0]);
            }
        }
    }

    #[test]
    fn who_moves_keeps_its_pointer_until_another_one_comes() {
        let mut there = Pointer::default();
        there.join_moved(1, None);
        there.begin_again();
        assert_eq!(kinds(&poll_all(&mut there, 1)), [SET_ACK], "no INIT");
        there.show(Point { x: 3, y: 4 }, true, SHAPE, &Bytes::from_static(b"12345678"));
        assert_eq!(kinds(&poll_all(&mut there, 1)), [103]);
        there.join_moved(2, None);
        assert_eq!(kinds(&poll_all(&mut there, 2)), [SET_ACK, 103]);
        there.send_off(1);
        there.move_to(Point { x: 5, y: 6 });
        there.reset();
        let last = poll_all(&mut there, 1);
        assert_eq!(kinds(&last), [108, MIGRATE]);
        assert_eq!(last[1].head, [0; 4], "without flags");
        there.begin_again();
        assert_eq!(kinds(&poll_all(&mut there, 2)), [108, 102, 101]);
    }

    #[test]
    fn a_client_that_lags_gets_the_newest_only() {
        let mut pointer = Pointer::default();
        pointer.join(1, None);
        for at in 0..1000 {
            pointer.move_to(Point { x: at, y: 0 });
            pointer.set(SHAPE, &Bytes::from(vec![at as u8; 8]));
        }
        assert!(pointer.poll(1, limits::POINTERS_QUEUED).is_none());
        let messages = poll_all(&mut pointer, 1);
        assert_eq!(kinds(&messages), [SET_ACK, 101, 104, 103]);
        assert_eq!(messages[2].head, [0xe7, 3, 0, 0]);
        assert_eq!(messages[3].shared[0], 0xe7);
    }

    #[test]
    fn a_client_that_acknowledges_nothing_stops_only_itself() {
        let mut pointer = Pointer::default();
        pointer.join(1, None);
        pointer.join(2, None);
        pointer.handle_sync(2, 1);
        let (mut first, mut second) = (0, 0);
        for at in 0..1000 {
            pointer.move_to(Point { x: at, y: 0 });
            first += poll_all(&mut pointer, 1).len();
            second += poll_all(&mut pointer, 2).len();
            if at % 20 == 0 {
                pointer.handle_ack(2);
            }
        }
        assert_eq!(first, 41);
        assert_eq!(second, 1002);
    }

    #[test]
    fn a_client_that_has_the_pointer_is_told_when_it_appears() {
        let mut pointer = Pointer::default();
        pointer.join(1, None);
        poll_all(&mut pointer, 1);
        let there = Point { x: 1, y: 2 };
        pointer.guest_moves(there, false);
        assert_eq!(kinds(&poll_all(&mut pointer, 1)), []);
        pointer.guest_moves(there, true);
        pointer.hide();
        pointer.set_trail(Trail { length: 5, frequency: 6 });
        pointer.guest_moves(there, false);
        assert_eq!(kinds(&poll_all(&mut pointer, 1)), [105, 106, 104], "the newest place");
        pointer.show(there, false, SHAPE, &Bytes::from_static(b"12345678"));
        pointer.join(2, None);
        let first = poll_all(&mut pointer, 2);
        assert_eq!(first[1].head[..9], [1, 0, 2, 0, 5, 0, 6, 0, 0]);
    }

    #[test]
    fn a_reset_takes_what_waits_with_it() {
        let mut pointer = Pointer::default();
        pointer.join(1, None);
        pointer.show(Point::default(), true, SHAPE, &Bytes::from_static(b"12345678"));
        pointer.guest_moves(Point { x: 1, y: 2 }, true);
        pointer.reset();
        pointer.begin_again();
        let told = poll_all(&mut pointer, 1);
        assert_eq!(kinds(&told), [SET_ACK, 108, 102, 101]);
        assert_eq!(told[3].head, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn only_messages_of_all_channels_are_understood() {
        let handle = |kind| handle(&Message { kind, body: Bytes::from_static(&[1, 0, 0, 0]) });
        assert_eq!(handle(1), Ok(Request::Sync(1)));
        assert_eq!(handle(2), Ok(Request::Ack));
        assert_eq!(handle(101), Err(Malformed::Unknown(101)));
    }
}
