//! Every bound on memory, time and counts, each with its reason.
//!
//! The QXL worker keeps its own in `server::qxl::limits`, because they belong to
//! the guest's device and not to a peer on the network.

use std::time::Duration;

/// How far the clock that a client is given runs behind the one that stamps frames. A
/// client drops a frame whose time is past on its clock: this is how long a frame may be
/// on its way. Upstream's number up to 0.15; 0.16 has none, and spice-gtk 0.42 then drops
/// what takes longer than INIT took.
pub const MULTIMEDIA_DELAY_MS: u32 = 400;

/// Longest time from accept to the ticket. Upstream waits for ever; ten seconds
/// are far more than any client needs on any network a desktop is usable over.
///
/// Key: link.deadline
pub const LINK_DEADLINE: Duration = Duration::from_secs(10);

/// Links under way at once: so many from addresses, and apart from them so many on unix
/// sockets and on sockets that the host brings. Above this the oldest link of whoever has
/// most of them makes way for a new one. Each is a descriptor, of which a process may have
/// 1024 by default.
///
/// Key: link.pending
pub const PENDING_LINKS: usize = 512;

/// Links under way from one address, which is a /64 with IPv6. A desktop makes ten at once,
/// and people behind one address share it; a quarter of all is left for others. The more
/// there are, the longer it takes a flood of new links to push out an honest one of the same
/// address: with 4000 a second a tenth of a second, which is enough for its answer.
///
/// Key: link.pending-per-address
pub const PENDING_LINKS_PER_ADDRESS: usize = 384;

/// Bytes that all links together may hold of what their clients have sent, such as SASL
/// steps of up to 1 MiB, and of answers that they do not read. Above this the link with most
/// of them makes way; honest ones hold a few KiB, with Kerberos 64.
pub const LINK_BYTES: usize = 16 * 1024 * 1024;

/// Failed authentications of one address that cost it nothing: people mistype.
///
/// Key: link.free-failures
pub const FREE_FAILURES: u32 = 5;

/// What the first failed authentication after those costs the address' next links. Each
/// further one doubles it.
pub const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Longest delay after failed authentications. With [`PENDING_LINKS_PER_ADDRESS`] it bounds
/// how many passwords one address can try: 26 a second. A person who shares the address
/// with such a guesser still comes in.
///
/// Key: link.longest-delay
pub const LONGEST_DELAY: Duration = Duration::from_secs(15);

/// An address that has failed is forgiven after this time without another failure.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(600);

/// Addresses whose failures are remembered. The one that has been quiet for longest is
/// forgotten for a new one; each costs a few dozen bytes.
pub const FAILING_ADDRESSES: usize = 4096;

/// Links that the host is told of at once before they are authenticated, see
/// [`TOLD_PER_SECOND`]. More than all clients of a machine make when they come at once.
pub const TOLD_AT_ONCE: u32 = 256;

/// Links a second that the host is told of before they are authenticated, after
/// [`TOLD_AT_ONCE`]. Each costs the host two events on its main thread, and whoever listens
/// to QEMU's monitor two lines.
pub const TOLD_PER_SECOND: u32 = 100;

/// Log lines about links that end in the same way, in [`LINK_LINES_WINDOW`].
pub const LINK_LINES: u32 = 20;

/// See [`LINK_LINES`].
pub const LINK_LINES_WINDOW: Duration = Duration::from_secs(60);

/// Log lines from one place of the source in [`LOG_LINES_WINDOW`]: a peer that makes a place
/// log may do so for ever. All problems of a configuration file, [`CONFIG_PROBLEMS`], are
/// told from one.
pub const LOG_LINES: u32 = 120;

/// The same for accounts of what passed between clients and agent. People do not copy and
/// paste five times a second; a program can, and an account with gaps is worth little.
pub const AUDIT_LINES: u32 = 3000;

/// See [`LOG_LINES`]. Twelve lines a minute and place on average come to two megabytes a
/// day, and a peer reaches few places.
pub const LOG_LINES_WINDOW: Duration = Duration::from_secs(600);

/// Longest message of a log line in bytes, before odd characters are escaped. Paths are
/// shorter than this; what peers can put into a line is mostly much shorter.
pub const LOG_LINE: usize = 4096;

/// Longest deadline that a configuration may give links.
pub const LINK_DEADLINE_MOST: Duration = Duration::from_secs(3600);

/// Most links under way that a configuration may allow: each is a descriptor.
pub const PENDING_LINKS_MOST: usize = 4096;

/// Most failed authentications that a configuration may leave without consequence.
pub const FREE_FAILURES_MOST: u32 = 1000;

/// Longest delay that a configuration may set: above a minute people take it for broken.
pub const LONGEST_DELAY_MOST: Duration = Duration::from_secs(60);

/// Connections accepted before links under way have their turn.
pub const ACCEPT_TURN: usize = 64;

/// Bytes taken from one socket before the next one has its turn: few enough that they are
/// still in the processor's cache when the device sees them.
pub const READ_TURN: usize = 128 * 1024;

/// The same for a unix socket: all that one holds (208 KiB where nobody has changed the
/// kernel's default). One that is emptied is filled again meanwhile, one that is not keeps its
/// client waiting.
pub const READ_TURN_UNIX: usize = 256 * 1024;

/// How much a read of wrapped bytes asks for at once: large enough that many small messages
/// come with one system call, small enough to stay in the cache.
pub const READ_CHUNK: usize = 64 * 1024;

/// Buffers of [`READ_TURN_UNIX`] bytes that each thread keeps for reading. One would do on the
/// main thread; what the I/O thread reads is used up later by another thread.
pub const IDLE_READ_BUFFERS: usize = 4;

/// Large chunks of outgoing bytes that a server keeps for its connections: as many as one
/// of them fills before its device is no longer read, twice.
pub const IDLE_CHUNKS: usize = 8;

/// The beginning of a message up to this length is copied to a buffer of its own, so that
/// a connection whose peer stops there does not keep a large one.
pub const TORN_MESSAGE: usize = 1024;

/// Room for the plain bytes of one TLS record, which has at most so many.
pub const TLS_RECORD: usize = 16 * 1024;

/// Bytes that are wrapped for TLS before the socket is tried: enough for a few records
/// with one system call, and a bound on what a full socket leaves wrapped.
pub const LAYER_TURN: usize = 64 * 1024;

/// Wrapped bytes for one client above which it is cut when it causes more answers (pongs,
/// TLS key updates, alerts) without reading. Two turns fit in, which no answer is.
pub const LAYER_UNSENT: usize = 256 * 1024;

/// Longest request that may begin a WebSocket. Upstream stops at 4 KiB; cookies for the
/// same host can make a browser's longer, and web servers allow about as much.
pub const WEBSOCKET_REQUEST: usize = 8 * 1024;

/// Bytes of a page's origin that are shown in the log: no host's name is longer.
pub const ORIGIN: usize = 255;

/// Origins in a list: each new WebSocket is compared with every one.
pub const ORIGINS: usize = 256;

/// Bytes of client data that may wait on their way from the I/O thread to the
/// main thread for one connection, before its socket is no longer read.
pub const INBOX: usize = 512 * 1024;

/// Device data queued towards one client before the device is no longer read.
/// Upstream's number, so a guest sees the same pace (docs/protocol/spicevmc.md). On
/// the main channel a client's requests wait above the same number.
pub const DEVICE_TO_CLIENT: usize = 1024 * 1024;

/// Bytes queued towards one client before it is cut because it does not read.
/// More than what flow control lets a device queue, so that only messages which
/// cannot be held back (events, announcements) ever reach it.
pub const OUTGOING: usize = 4 * 1024 * 1024;

/// Notices on their way to the main thread above which no connection is accepted:
/// a main loop that stands still must not make memory grow.
pub const NOTICES: usize = 1024;

/// Largest single read from a char device: upstream's 64 KiB and 32 bytes.
pub const DEVICE_READ: usize = 64 * 1024 + 32;

/// Client messages waiting for a spicevmc device before its socket is no longer
/// read: upstream's number.
pub const SELF_TOKENS: u64 = 128;

/// Client bytes waiting for a spicevmc device before its socket is no longer
/// read. Upstream counts messages only, whatever their size.
pub const CLIENT_TO_DEVICE: usize = 2 * 1024 * 1024;

/// A client's data message above this size is passed on in pieces while it
/// arrives, so that the announced length never decides how much memory is used.
pub const WHOLE_MESSAGE: usize = 256 * 1024;

/// Short compressed messages that are there already are decoded one behind the other until
/// so many bytes have come of them, and given to the device together: upstream's largest
/// read, so that a device gets no more at a time than it may.
pub const DECODED_TOGETHER: usize = 64 * 1024;

/// Largest data message that is accepted at all; upstream keeps the length in a
/// signed 32-bit integer.
pub const DATA_MESSAGE: u32 = i32::MAX as u32;

/// Largest message on the main channel: 4096 bytes and 11 agent messages.
pub const MAIN_MESSAGE: u32 = 26_624;

/// Largest AGENT_DATA message from a client.
pub const AGENT_DATA: u32 = 2048;

/// AGENT_DATA that a client may have under way. Upstream's number; INIT and
/// AGENT_CONNECTED_TOKENS tell it.
pub const AGENT_WINDOW: u32 = 10;

/// AGENT_DATA after which a client is told that it may send as many again. Upstream's
/// number.
pub const AGENT_TOKEN_LOT: u64 = 5;

/// Pieces of agent messages that wait for one client's tokens while another one takes
/// them, before the slow one is cut. Upstream's number.
pub const AGENT_QUEUE: usize = 5;

/// Messages of the server's own that wait for the agent. Upstream's number; what the
/// pointer does meanwhile is told in one message afterwards.
pub const AGENT_SELF_TOKENS: u64 = 1;

/// Client bytes that move to another host because the device there is to get them. A client
/// sends what it had begun with before it lets go, and the device takes nothing meanwhile:
/// more than clients queue, and as much as a C program may be given.
pub const MIGRATION_WRITE: usize = 64 * 1024 * 1024;

/// What a buffer counts for in [`MIGRATION_WRITE`] besides its bytes: about the memory that
/// it takes.
pub const MIGRATION_BUFFER: usize = 128;

/// Largest body of a client's MIGRATE_DATA: bytes for a device, and a page for the rest.
pub const MIGRATION_DATA: u32 = 64 * 1024 * 1024 + 4096;

/// Surfaces that a client may have when it comes from another host: as many as upstream
/// knows.
pub const MIGRATED_SURFACES: u32 = 10_000;

/// Bytes that wait for an agent which takes nothing, above which it is not told once
/// more that a client has left.
pub const AGENT_NOTICES: usize = 64 * 1024;

/// Files of a client that are followed at a time: desktops send a handful, and each
/// costs a few bytes.
pub const FILES: usize = 256;

/// Longest start of a file that is read: the text has a name of at most 255 characters,
/// each of which may be written in several.
pub const FILE_START: usize = 16 * 1024;

/// Answers of the server's that wait for the end of a message towards the same side.
/// More than clients and agents ask for at a time; others have to ask again.
pub const AGENT_ANSWERS: usize = 256;

/// Longest piece of an agent message, in either direction. The protocol's number.
pub const AGENT_PIECE: usize = AGENT_DATA as usize;

/// Body of a client's MONITORS_CONFIG that the server reads itself: 256 monitors with
/// their sizes. Upstream's number.
pub const MONITORS_CONFIG: u32 = 8 + 256 * 24;

/// Largest message on the inputs channel: upstream's number. Only a run of scan codes has
/// more than a few bytes.
pub const INPUTS_MESSAGE: u32 = 2048;

/// Largest message other than data on a spicevmc channel.
pub const SPICEVMC_CONTROL: u32 = 64 * 1024;

/// Largest message of a client on the smartcard channel. QEMU's reader collects a message
/// in so many bytes, and never takes the end of a longer one: it would be blocked for good.
pub const SMARTCARD_MESSAGE: u32 = 64 * 1024;

/// Client bytes waiting for a smartcard reader before the socket is no longer read: four
/// of the longest messages. A card speaks when it is spoken to.
pub const SMARTCARD_TO_DEVICE: usize = 256 * 1024;

/// Longest data in a message from a smartcard reader: the longest command that ISO 7816-4
/// knows has 65,544 bytes.
pub const SMARTCARD_FROM_DEVICE: u32 = 128 * 1024;

/// One read from a smartcard reader: more than a short command and its answer.
pub const SMARTCARD_READ: usize = 1024;

/// Largest message of a client on a display or cursor channel: upstream's receive
/// buffer.
pub const GRAPHICS_MESSAGE: u32 = 1024;

/// Messages that a client of a display or cursor channel gets between two
/// acknowledgements: upstream's number.
pub const ACK_WINDOW: u32 = 20;

/// Pixels of one image of a screen: half a megabyte, so that a client which does not read
/// costs little, and few enough messages for a whole screen.
pub const IMAGE_PIXELS: u64 = 128 * 1024;

/// Pixels of the image by which a client gets to know a whole screen: 4096 by 4096, 64 MiB.
pub const FIRST_IMAGE_PIXELS: u64 = 4096 * 4096;

/// Bytes towards one client of a graphics device from which on no more is sent to it: newer
/// pictures take the place of what waits. Enough to keep a fast network busy while the next
/// image is made.
pub const PICTURES_QUEUED: usize = 512 * 1024;

/// See [`ACK_WINDOW`], for clients behind a slow network, where acknowledgements take long:
/// upstream's number.
pub const SLOW_ACK_WINDOW: u32 = 40;

/// Bits a second below which the network test calls a network slow: upstream's number.
pub const SLOW_NETWORK: u64 = 10 * 1024 * 1024;

/// Pixels below which an area that changes all the time is no video: upstream's number,
/// 96 by 96. What is smaller costs little as an image.
pub const STREAM_PIXELS: u64 = 96 * 96;

/// Changes after which an area may become a stream: upstream's number of frames.
pub const VIDEO_CHANGES: u32 = 20;

/// How long an area must have changed before it may become a stream. It is what 20 frames
/// take at 30 a second and more; a window that is dragged or a page that scrolls takes less.
pub const VIDEO_LENGTH: Duration = Duration::from_millis(600);

/// The longest time between two changes of an area that is to become a stream: upstream's
/// number.
pub const VIDEO_PAUSE: Duration = Duration::from_millis(200);

/// How long what belongs to a stream may stay as it is: upstream's number. After that it is
/// sent without loss.
pub const VIDEO_END: Duration = Duration::from_secs(1);

/// How often it is looked where streams begin and end: a small part of the times above.
pub const VIDEO_LOOK_PERIOD: Duration = Duration::from_millis(100);

/// The shortest time between two frames of a stream, 30 a second: upstream's number.
pub const FRAME_PERIOD: Duration = Duration::from_micros(33_333);

/// The longest time between two frames of a stream that changes, however slow the network.
pub const FRAME_PERIOD_LONGEST: Duration = Duration::from_secs(1);

/// Bytes towards a client that may not have left when a frame follows. With more, the frame
/// would be late and a newer one takes its place; one frame of a large stream is about this.
pub const FRAME_QUEUED: usize = 64 * 1024;

/// Bytes a second that all streams of a client may take at first, if the network test has
/// not said anything: upstream's 10 Mbit/s.
pub const STREAM_RATE: u64 = 10 * 1024 * 1024 / 8;

/// Bytes a second that all streams of a client take at least: a frame of a large stream, of
/// the lowest quality.
pub const STREAM_RATE_LEAST: u64 = 16 * 1024;

/// Bytes a second that all streams of a client take at most: a screen of 1920 by 1080 at 30
/// frames a second and the best quality needs less.
pub const STREAM_RATE_MOST: u64 = 16 * 1024 * 1024;

/// Frames after which a client reports how a stream arrives: upstream's number.
pub const REPORT_FRAMES: u32 = 5;

/// Milliseconds after which a client reports so at the latest: upstream's number.
pub const REPORT_MS: u32 = 1000;

/// How often it is looked whether a client that has seen something with losses has got
/// all that was sent to it: nobody notices so much later that a picture becomes good.
pub const REFINE_PERIOD: Duration = Duration::from_millis(20);

/// How long a client of a graphics device may take to say INIT: as long as upstream waits.
pub const DISPLAY_INIT: Duration = Duration::from_secs(30);

/// How long the host waits for clients to show what a graphics card has drawn. QEMU stops
/// the guest's drawing meanwhile, and complains after a second.
pub const GL_DRAW: Duration = Duration::from_millis(900);

/// Largest frame from a stream device: upstream's number.
pub const STREAM_FRAME: usize = 32 * 1024 * 1024;

/// Most bytes of capabilities from a stream device: upstream's number.
pub const STREAM_CAPABILITIES: usize = 1024;

/// Largest width and height of a stream device's pointer: upstream's number.
pub const POINTER_SIDE: u16 = 1024;

/// Longest address of a graphics device, with its NUL: upstream's number.
pub const DEVICE_ADDRESS: usize = 256;

/// Bytes of a surface: upstream has its size in a signed 32-bit integer.
pub const SURFACE: u64 = i32::MAX as u64;

/// How much of a stream device's message is read at once: memory grows with what has
/// arrived, and a step of this size is little beside a frame.
pub const STREAM_READ: usize = 64 * 1024;

/// The same for what is thrown away after a fault: upstream's number.
pub const STREAM_DISCARD: usize = 16 * 1024;

/// How long a client may hold up a stream that others watch as well before it is cut:
/// as long as upstream waits for a client of a graphics device.
pub const STREAM_HELD_UP: Duration = Duration::from_secs(30);

/// Bytes towards one client of a cursor channel above which newer pointers replace those
/// that wait: many ordinary pointers fit, and a client that does not read costs no more
/// than this and three pictures.
pub const POINTERS_QUEUED: usize = 64 * 1024;

/// Bytes towards the client of a sound channel above which newer frames and states replace
/// those that wait: eight frames as they are, 80 ms at 48,000 samples a second. A burst of
/// the host's passes, and a client that does not keep up hears no older sound than this and
/// what its socket holds.
pub const SOUND_QUEUED: usize = 8 * 2048;

/// Frames of one client's: upstream's number. One may be waiting, and QEMU fills one.
pub const FRAMES: usize = 3;

/// Frames that one sound device may have in the host's hands for clients of all times,
/// about 2 KiB each. QEMU has one.
pub const FRAMES_LENT: usize = 32;

/// Largest message of a client on the playback channel: it has only those of all channels.
pub const PLAYBACK_MESSAGE: u32 = 1024;

/// Largest message of a client on the record channel: eight times what the ring holds.
/// Upstream takes any.
pub const RECORD_MESSAGE: u32 = 256 * 1024;

/// Samples of both ears that wait for the host to fetch them: upstream's number, 171 ms at
/// 48,000 a second.
pub const RECORD_SAMPLES: usize = 8192;

/// Samples that must have come since the start before any is given to the host: upstream's
/// number.
pub const RECORD_AHEAD: u64 = RECORD_SAMPLES as u64 / 2;

/// Samples for each ear in one Opus packet: 120 ms at 48,000 a second, more than any has.
pub const OPUS_SAMPLES: usize = 5760;

/// A fresh block up to this size is sent at once instead of being gathered.
pub const FRESH_BLOCK: usize = 16 * 1024;

/// Silence after which a block counts as fresh.
pub const FRESH_AFTER: Duration = Duration::from_micros(50);

/// Gathered bytes that are sent without waiting for the end of the turn.
pub const GATHERED: usize = 256 * 1024;

/// Bytes to be compressed that are worth another thread: waking it takes as long as
/// compressing a few thousand.
pub const PRESSED_BESIDE: usize = 32 * 1024;

/// Ticket keys kept ready. A desktop client links ten or so channels at once, and several
/// may come while others waste keys. All of them take a third of a second to make.
pub const KEYS_READY: usize = 32;

/// Threads that make ticket keys, each as far as it has a processor. With one, keys and not
/// sockets decide how many clients get in; with more, whoever wastes keys would have
/// more of the machine.
pub const KEY_THREADS: usize = 2;

/// Retry of a refused device write, for devices that do not announce when they
/// become writable.
pub const WRITE_RETRY: Duration = Duration::from_millis(100);

/// Padding of the bandwidth ping on the main channel.
pub const NET_TEST_BYTES: usize = 250 * 1024;

/// How long a host that migrates waits for its clients' answers, and for their leaving:
/// upstream's ten seconds.
pub const MIGRATION: Duration = Duration::from_secs(10);

/// A client silent for this long while it owes an answer is taken for dead.
pub const CONNECTIVITY: Duration = Duration::from_secs(30);

/// Time between liveness pings on the main channel.
pub const PING_PERIOD: Duration = Duration::from_secs(15);

/// Longest name or password handed in through the C API (one NUL included).
pub const API_STRING: usize = 256;

/// A client of a device with flow control that keeps messages waiting for this long
/// without granting tokens is cut. Upstream's number.
pub const WAIT_FOR_TOKENS: Duration = Duration::from_secs(30);

/// Largest write buffer that a C program may ask for: what it is asked for is often
/// what a client announced.
pub const WRITE_BUFFER: usize = 64 * 1024 * 1024;

/// Bytes of idle write buffers above which a device of a C program keeps no more of
/// them. Upstream's number.
pub const WRITE_BUFFER_POOL: usize = 655_360;

/// Rules that say which device becomes which channel: more than anybody has devices,
/// and few enough to be looked through one by one.
pub const CHANNEL_RULES: usize = 256;

/// Longest name of a channel: it stands in QEMU's options and in log lines.
pub const CHANNEL_NAME: usize = 32;

/// Blocks up to this length are not compressed: upstream's number. The headers of a
/// message and a system call cost more than is saved.
pub const COMPRESSION_THRESHOLD: usize = 1000;

/// One part in so many must be saved, or compressing counts as futile.
pub const COMPRESSION_GAIN: usize = 32;

/// Futile attempts in a row before compression pauses: enough that one picture in a
/// text stops nothing.
pub const COMPRESSION_ATTEMPTS: u32 = 4;

/// Bytes that pass as they are before the next attempt. Each futile attempt doubles it.
pub const COMPRESSION_PAUSE: usize = 256 * 1024;

/// Longest pause: one block in 256 is tried, and a stream that begins to shrink is
/// noticed after a fraction of a second.
pub const COMPRESSION_LONGEST_PAUSE: usize = 16 * 1024 * 1024;

/// Longest time that a client of a char device may be unreachable before it is cut, where
/// that is limited at all.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Largest size that a limit for clipboard contents or files may have, 1 TiB: who wants
/// more wants none.
pub const TRANSFER_SIZE: u64 = 1 << 40;

/// Largest configuration file that is read: thousands of machines fit in, and a wrong
/// path cannot fill the memory.
pub const CONFIG_FILE: u64 = 1024 * 1024;

/// Problems of a configuration file that are told apart: each may become a line in the
/// log of every machine.
pub const CONFIG_PROBLEMS: usize = 100;

/// How often what is wrong is cut out of a configuration file before nothing of it
/// applies. A plain slip takes one turn or two.
pub const CONFIG_REPAIRS: usize = 16;

/// Longest request of a reader of statistics, in bytes: a GET with the headers that curl
/// and Prometheus send has 200.
pub const STATISTICS_REQUEST: usize = 4096;

/// Readers of statistics at a time. Beyond that the one that has been silent for longest
/// makes way.
pub const STATISTICS_READERS: usize = 16;

/// Nodes of upstream's file in shared memory: more than upstream has by itself. What does
/// not fit is left out.
pub const STATISTICS_NODES: usize = 1024;

/// How often that file is written.
pub const STATISTICS_PERIOD: Duration = Duration::from_secs(1);
