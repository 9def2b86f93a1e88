use ffmpeg_next::format::Pixel;
use shared::source::Color;
use shared::task::Transform;
use shared::time::Timescale;

use super::*;

const UPRIGHT: Transform = Transform { rotation: 0, mirror: false, deinterlace: false, tone_map: false };

const BT709: Color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };

/// Scales one frame.
fn scale(frame: frame::Video, color: Color, transform: Transform, sizes: &[(u32, u32)]) -> Vec<frame::Video> {
    let chain = Chain { sizes: sizes.to_vec(), timescale: Timescale::new(25).unwrap(), color, transform };
    let mut scaler = Scaler { chain, graph: None };
    let mut ready = scaler.push(Picture::Host(frame)).unwrap();
    ready.extend(scaler.finish().unwrap());
    assert_eq!(ready.len(), 1);
    ready.remove(0).into_iter().map(|picture| picture.to_host().unwrap()).collect()
}

/// A frame whose planes are filled by sample value; deep formats get the value shifted up from 8 bits.
fn painted(format: Pixel, (width, height): (u32, u32), paint: impl Fn(usize, usize, usize) -> u8) -> frame::Video {
    let mut frame = frame::Video::new(format, width, height);
    frame.set_pts(Some(0));
    let name = format.descriptor().unwrap().name();
    let shift = ["10le", "12le"].iter().position(|end| name.ends_with(end)).map(|place| 2 + 2 * place);
    for plane in 0..frame.planes() {
        let stride = frame.stride(plane);
        for (y, row) in frame.data_mut(plane).chunks_mut(stride).enumerate() {
            match shift {
                None => row.iter_mut().enumerate().for_each(|(x, sample)| *sample = paint(plane, x, y)),
                Some(shift) => row.chunks_exact_mut(2).enumerate().for_each(|(x, sample)| {
                    sample.copy_from_slice(&(u16::from(paint(plane, x, y)) << shift).to_le_bytes());
                }),
            }
        }
    }
    frame
}

/// The samples of a plane, row by row.
fn samples(picture: &frame::Video, plane: usize) -> Vec<Vec<u8>> {
    let half = usize::from(plane > 0);
    let (width, height) = (picture.width() as usize >> half, picture.height() as usize >> half);
    picture.data(plane).chunks(picture.stride(plane)).take(height).map(|row| row[..width].to_vec()).collect()
}

#[test]
fn no_format_size_or_range_shifts_a_colour() {
    let formats = [
        Pixel::YUV420P,
        Pixel::YUV420P10LE,
        Pixel::YUV422P,
        Pixel::YUV422P10LE,
        Pixel::YUV444P,
        Pixel::YUV444P12LE,
        Pixel::YUV411P,
        Pixel::YUVJ420P,
        Pixel::YUVA420P,
    ];
    for format in formats {
        for size in [(64, 48), (2, 2), (321, 241), (4, 90), (642, 6)] {
            for full_range in [false, true] {
                let color = Color { full_range, ..BT709 };
                let frame = painted(format, size, |plane, _, _| [180, 90, 160, 255][plane]);
                let even = |side: u32| (side & !1).max(2);
                let sizes = [(even(size.0), even(size.1)), (2, 2)];
                let wanted = if full_range || format == Pixel::YUVJ420P { [171, 95, 156] } else { [180, 90, 160] };
                for picture in scale(frame, color, UPRIGHT, &sizes) {
                    assert_eq!(picture.format(), Pixel::YUV420P);
                    for (plane, wanted) in wanted.into_iter().enumerate() {
                        let off = samples(&picture, plane).concat().into_iter().map(|sample| sample.abs_diff(wanted));
                        assert!(off.max() <= Some(1), "{format:?} {size:?} plane {plane}, full range: {full_range}");
                    }
                }
            }
        }
    }
}

#[test]
fn rgb_whatever_it_says_becomes_bt601() {
    let mut frame = painted(Pixel::RGB24, (64, 48), |_, x, _| [255, 0, 0][x % 3]);
    frame.set_color_space(Space::RGB);
    let pictures = scale(frame, Color { matrix: 6, ..BT709 }, UPRIGHT, &[(64, 48), (32, 24)]);
    for picture in pictures {
        let [y, u, v] = [0, 1, 2].map(|plane| samples(&picture, plane)[5][5]);
        assert!(y.abs_diff(81) < 2 && u.abs_diff(90) < 2 && v.abs_diff(240) < 2, "{y} {u} {v}");
    }
}

#[test]
fn ycbcr_labelled_as_rgb_is_scaled_all_the_same() {
    let mut frame = painted(Pixel::YUV420P, (64, 48), |plane, _, _| [180, 90, 160][plane]);
    frame.set_color_space(Space::RGB);
    let pictures = scale(frame, Color { matrix: 6, ..BT709 }, UPRIGHT, &[(32, 24), (16, 12)]);
    assert_eq!(samples(&pictures[1], 0)[5][5], 180);
}

#[test]
fn every_rung_stands_upright() {
    // Where the bright upper left corner of the source goes: to the right, to the bottom?
    let turns = [
        (0, false, false, false),
        (0, true, true, false),
        (90, false, true, false),
        (90, true, false, false),
        (180, false, true, true),
        (270, false, false, true),
    ];
    for (rotation, mirror, right, bottom) in turns {
        let frame = painted(Pixel::YUV420P, (64, 48), |plane, x, y| match plane {
            0 if x < 32 && y < 24 => 200,
            0 => 50,
            _ => 128,
        });
        let transform = Transform { rotation, mirror, ..UPRIGHT };
        let sizes = if rotation % 180 == 90 { [(48, 64), (24, 32)] } else { [(64, 48), (32, 24)] };
        for picture in scale(frame, BT709, transform, &sizes) {
            let rows = samples(&picture, 0);
            let (height, width) = (rows.len(), rows[0].len());
            for (y, below) in [(2, false), (height - 3, true)] {
                for (x, beside) in [(2, false), (width - 3, true)] {
                    let wanted: u8 = if (beside, below) == (right, bottom) { 200 } else { 50 };
                    assert!(rows[y][x].abs_diff(wanted) < 3, "turned by {rotation}, mirrored: {mirror}; {x}, {y}");
                }
            }
        }
    }
}

#[test]
fn the_picture_stays_where_it_was() {
    // A bright square in the middle has its centre of mass in the middle of every rung.
    let inside = |x: usize, y: usize| (24..40).contains(&x) && (16..32).contains(&y);
    let frame = painted(Pixel::YUV420P, (64, 48), |plane, x, y| match plane {
        0 if inside(x, y) => 200,
        0 => 16,
        _ => 128,
    });
    for picture in scale(frame, BT709, UPRIGHT, &[(64, 48), (46, 34), (32, 24)]) {
        let rows = samples(&picture, 0);
        let weight = |sample: u8| f64::from(sample) - 16.0;
        let mass: f64 = rows.concat().iter().map(|sample| weight(*sample)).sum();
        let x: f64 =
            rows.iter().flat_map(|row| row.iter().zip(0u16..)).map(|(s, x)| weight(*s) * (f64::from(x) + 0.5)).sum();
        let y: f64 = rows
            .iter()
            .zip(0u16..)
            .map(|(row, y)| row.iter().map(|s| weight(*s)).sum::<f64>() * (f64::from(y) + 0.5))
            .sum();
        assert!((x / mass - f64::from(picture.width()) / 2.0).abs() < 0.1, "{}", x / mass);
        assert!((y / mass - f64::from(picture.height()) / 2.0).abs() < 0.1, "{}", y / mass);
    }
}

#[test]
fn columns_and_rows_lie_where_they_belong_at_every_ratio() {
    let wave = |at: f64| 128.0 + 80.0 * (at * std::f64::consts::TAU / 24.0).sin();
    for format in [Pixel::YUV420P, Pixel::YUV420P10LE, Pixel::YUV444P, Pixel::NV12] {
        for (from, to) in
            [(854, 854), (854, 426), (960, 466), (960, 464), (960, 460), (960, 440), (854, 284), (640, 854)]
        {
            for sideways in [false, true] {
                let turn = |(a, b)| if sideways { (b, a) } else { (a, b) };
                let (size, smaller) = (turn((from, 64)), turn((to, 64)));
                let along = |x: usize, y: usize| if sideways { y } else { x };
                let frame = painted(format, size, |plane, x, y| match plane {
                    0 => wave(along(x, y) as f64 + 0.5).round() as u8,
                    _ => 128,
                });
                for picture in scale(frame, BT709, UPRIGHT, &[smaller, smaller]) {
                    let rows = samples(&picture, 0);
                    let off = |at: usize| {
                        let sample = if sideways { rows[at][32] } else { rows[32][at] };
                        (f64::from(sample) - wave((at as f64 + 0.5) * f64::from(from) / f64::from(to))).abs()
                    };
                    let worst = (8..to as usize - 8).map(off).fold(0.0, f64::max);
                    assert!(worst < 4.0, "{format:?}: {from} to {to}, sideways: {sideways}: off by {worst}");
                }
            }
        }
    }
}

#[test]
fn the_same_frame_gives_the_same_picture() {
    let deep = || painted(Pixel::YUV422P10LE, (64, 48), |plane, x, y| (plane * 31 + x * 3 + y * 2) as u8);
    let [one, other] = [(); 2].map(|()| scale(deep(), BT709, UPRIGHT, &[(46, 34), (22, 16)]));
    for (one, other) in one.iter().zip(&other) {
        assert!((0..3).all(|plane| samples(one, plane) == samples(other, plane)));
    }
}

#[test]
fn hdr_is_shown_as_bright_as_the_curve_says() {
    // Stripes: black, grey card, white paper (ITU-R BT.2408), the brightest there is.
    let transfers =
        [(16, [0.0, 0.38, 0.581, 1.0], [0.0, 0.40, 0.67, 1.0]), (18, [0.0, 0.38, 0.75, 1.0], [0.0, 0.38, 0.77, 1.0])];
    for (transfer, signals, wanted) in transfers {
        for size in [(256, 48), (257, 49)] {
            let frame = painted(Pixel::YUV420P10LE, size, |plane, x, _| match plane {
                0 => (16.0 + 219.0 * signals[(x / 64).min(3)]) as u8,
                _ => 128,
            });
            let color = Color { primaries: 9, transfer, matrix: 9, full_range: false };
            let transform = Transform { tone_map: true, ..UPRIGHT };
            for picture in scale(frame, color, transform, &[(256, 48), (128, 24)]) {
                let [luma, blue, red] = [0, 1, 2].map(|plane| samples(&picture, plane).swap_remove(6));
                for (stripe, wanted) in wanted.into_iter().enumerate() {
                    let level = (f64::from(luma[luma.len() * (2 * stripe + 1) / 8]) - 16.0) / 219.0;
                    assert!(
                        (level - wanted).abs() < 0.015,
                        "stripe {stripe} of transfer {transfer} is shown at {level}"
                    );
                }
                assert!(blue.iter().chain(&red).all(|sample| sample.abs_diff(128) <= 1), "grey is tinted");
            }
        }
    }
}

#[test]
fn hdr_colours_are_those_of_the_table() {
    // Red, green and blue paper of HLG, each off the grey axis its own way.
    for rgb in [[0.6, 0.3, 0.2], [0.2, 0.6, 0.3], [0.3, 0.2, 0.6]] {
        let ycbcr = |[r, g, b]: [f64; 3], [kr, kb]: [f64; 2]| {
            let y = kr * r + (1.0 - kr - kb) * g + kb * b;
            let (cb, cr) = ((b - y) / (2.0 - 2.0 * kb), (r - y) / (2.0 - 2.0 * kr));
            [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr].map(|value| value.round() as u8)
        };
        let source = ycbcr(rgb, [0.2627, 0.0593]);
        let wanted = ycbcr(tone_map::shown(DynamicRange::Hlg, rgb), [0.2126, 0.0722]);
        let frame = painted(Pixel::YUV420P10LE, (64, 48), |plane, _, _| source[plane]);
        let color = Color { primaries: 9, transfer: 18, matrix: 9, full_range: false };
        let pictures = scale(frame, color, Transform { tone_map: true, ..UPRIGHT }, &[(64, 48)]);
        let got = [0, 1, 2].map(|plane| samples(&pictures[0], plane)[8][8]);
        assert!(got.iter().zip(wanted).all(|(got, wanted)| got.abs_diff(wanted) <= 3), "{got:?}, not {wanted:?}");
    }
}
