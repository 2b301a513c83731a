//! A display channel's body: what its client keeps.

use super::{BadData, Body, HEAD, Magic, begin, flag_of};
use crate::wire::Reader;

/// A display channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Display {
    /// The serial of the next message on the other host.
    pub serial: u64,
    /// The other host takes the client for one with little bandwidth.
    pub low_bandwidth: bool,
    /// The client's cache of images.
    pub cache: Cache,
    /// This is the channel that opens the cache again.
    pub opens_cache: bool,
    /// The client's window of GLZ images.
    pub glz: Glz,
    /// What the client has, and where it has seen each with losses.
    pub surfaces: Vec<Surface>,
}

/// A cache of images that a client has for several channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// The client's number of it.
    pub id: u8,
    /// In pixels.
    pub size: i64,
    /// The last message of each display channel, by its id, that an image in the cache
    /// depends on; 0 for none.
    pub used_by: [u64; 4],
}

/// A window of GLZ images that a client has for several channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glz {
    /// The client's number of it.
    pub id: u8,
    /// In pixels.
    pub size: u32,
    /// Channels that may put images in.
    pub encoders: u32,
    /// The number of the last image.
    pub last_image: u64,
}

/// A surface that the client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// Its number.
    pub id: u32,
    /// Where it was seen with losses: left, top, right, bottom. All 0 for nowhere.
    pub lossy: [i32; 4],
}

/// Which of two forms a list of surfaces has. Upstream reads the one that its own settings
/// demand, so they must agree with the writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SurfaceForm {
    /// Numbers only.
    Plain,
    /// With areas: JPEG is in use.
    WithAreas,
}

impl SurfaceForm {
    /// Whether it has areas.
    pub fn has_areas(self) -> bool {
        self == Self::WithAreas
    }
}

/// Upstream's number of channels in [`Glz::encoders`], and in [`Cache::used_by`].
pub const CACHE_CLIENTS: u32 = 4;

impl Display {
    /// Bytes of the body in front of the list of surfaces.
    pub const FIXED: usize = HEAD + 72;

    /// The body. Its one part is the list of surfaces.
    pub fn encode(&self, form: SurfaceForm) -> Vec<u8> {
        let mut body = begin(Magic::DISPLAY);
        body.extend_from_slice(&self.serial.to_le_bytes());
        body.extend_from_slice(&[self.low_bandwidth.into(), self.cache.id]);
        body.extend_from_slice(&self.cache.size.to_le_bytes());
        body.push(self.opens_cache.into());
        body.extend(self.cache.used_by.iter().flat_map(|serial| serial.to_le_bytes()));
        body.push(self.glz.id);
        body.extend_from_slice(&self.glz.size.to_le_bytes());
        body.extend_from_slice(&self.glz.encoders.to_le_bytes());
        body.extend_from_slice(&self.glz.last_image.to_le_bytes());
        body.extend_from_slice(&(Self::FIXED as u32).to_le_bytes());
        body.extend_from_slice(&(self.surfaces.len() as u32).to_le_bytes());
        for Surface { id, lossy } in &self.surfaces {
            body.extend_from_slice(&id.to_le_bytes());
            if form == SurfaceForm::WithAreas {
                body.extend(lossy.iter().flat_map(|edge| edge.to_le_bytes()));
            }
        }
        body
    }

    /// Reads a body, with at most `most` surfaces. Which form their list has is seen by
    /// its length: it is the body's end.
    pub fn parse(bytes: &[u8], most: u32) -> Result<Self, BadData> {
        let body = Body::parse(Magic::DISPLAY, bytes)?;
        let mut fields = body.fields();
        let (serial, low_bandwidth) = (fields.u64()?, flag_of(&mut fields)?);
        let (id, size) = (fields.u8()?, i64::from_le_bytes(fields.array()?));
        let opens_cache = flag_of(&mut fields)?;
        let mut used_by = [0; 4];
        for serial in &mut used_by {
            *serial = fields.u64()?;
        }
        let cache = Cache { id, size, used_by };
        let glz = Glz {
            id: fields.u8()?,
            size: fields.u32()?,
            encoders: fields.u32()?,
            last_image: fields.u64()?,
        };
        let at = fields.u32()?;
        let count = Reader::new(body.part(Self::FIXED, at, 4)?).u32()?;
        if count > most {
            return Err(BadData::Value("the number of surfaces", count.into()));
        }
        let list = body.behind(at, 4);
        let (with_areas, plain) = (count as usize * WITH_AREA, count as usize * PLAIN);
        let one = if list.len() >= with_areas { WITH_AREA } else { PLAIN };
        if list.len() < plain {
            return Err(BadData::Outside { at, length: 4 + plain as u64 });
        }
        let surfaces = list.chunks_exact(one).take(count as usize).map(surface).collect();
        Ok(Self { serial, low_bandwidth, cache, opens_cache, glz, surfaces })
    }
}

/// Bytes of a surface in either form.
const PLAIN: usize = 4;
const WITH_AREA: usize = 20;

fn surface(bytes: &[u8]) -> Surface {
    let mut words = bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
    let id = words.next().map_or(0, u32::from_le_bytes);
    let mut lossy = [0; 4];
    for (edge, word) in lossy.iter_mut().zip(words) {
        *edge = i32::from_le_bytes(word);
    }
    Surface { id, lossy }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: u32 = 1000;

    fn display(surfaces: Vec<Surface>) -> Display {
        Display {
            serial: 0x0807_0605_0403_0201,
            low_bandwidth: true,
            cache: Cache { id: 2, size: 0x0102, used_by: [1, 2, 3, 4] },
            opens_cache: true,
            glz: Glz { id: 5, size: 6, encoders: 4, last_image: 8 },
            surfaces,
        }
    }

    #[test]
    fn the_fields_stand_where_upstream_has_them() {
        let surfaces = vec![Surface { id: 3, lossy: [1, 2, 3, -1] }];
        let bytes = display(surfaces.clone()).encode(SurfaceForm::WithAreas);
        assert_eq!(bytes[..8], *b"DCMD\x01\0\0\0");
        let fixed = &bytes[8..];
        assert_eq!(fixed[..11], [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 2]);
        assert_eq!(fixed[18], 1, "opens the cache");
        assert_eq!((fixed[19], fixed[27], fixed[43]), (1, 2, 4));
        assert_eq!(fixed[51..60], [5, 6, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(fixed[60..72], [8, 0, 0, 0, 0, 0, 0, 0, 80, 0, 0, 0]);
        let list = [1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 255, 255, 255, 255];
        assert_eq!(fixed[72..], list);
        assert_eq!(Display::parse(&bytes, MOST), Ok(display(surfaces)));
    }

    #[test]
    fn lists_and_counts_must_fit() {
        let good = display(vec![Surface { id: 3, lossy: [0; 4] }]).encode(SurfaceForm::Plain);
        assert!(Display::parse(&good, 1).is_ok());
        let too_many = BadData::Value("the number of surfaces", 1);
        assert_eq!(Display::parse(&good, 0), Err(too_many));
        for length in 0..good.len() {
            assert!(Display::parse(&good[..length], MOST).is_err(), "{length} bytes");
        }
        let mut far = good.clone();
        far[76..80].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Display::parse(&far, MOST).is_err());
        far[76..80].copy_from_slice(&[8, 0, 0, 0]);
        assert!(Display::parse(&far, MOST).is_err(), "a list inside the fields");
        let mut many = good;
        many[80..84].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Display::parse(&many, u32::MAX).is_err());
    }

    proptest! {
        #[test]
        fn any_state_comes_back(
            serial: u64, low_bandwidth: bool, id: u8, size: i64, used_by: [u64; 4],
            opens_cache: bool, glz_id: u8, glz_size: u32, encoders: u32, last_image: u64,
            list in prop::collection::vec(any::<(u32, [i32; 4])>(), 0..20),
            with_areas: bool,
        ) {
            let form = if with_areas { SurfaceForm::WithAreas } else { SurfaceForm::Plain };
            let area = |lossy| if with_areas { lossy } else { [0; 4] };
            let surfaces = list.into_iter().map(|(id, lossy)| Surface { id, lossy: area(lossy) });
            let display = Display {
                serial, low_bandwidth, opens_cache,
                cache: Cache { id, size, used_by },
                glz: Glz { id: glz_id, size: glz_size, encoders, last_image },
                surfaces: surfaces.collect(),
            };
            prop_assert_eq!(Display::parse(&display.encode(form), MOST), Ok(display));
        }
    }
}
