//! Pictures of a pairing code: PNG and SVG for browsers, half-blocks for a terminal. What the text means is the
//! connector's business; here it is only drawn.

use qrcode::{EcLevel, QrCode, render::svg, types::Color};

use crate::error::{Error, Result};

/// Light modules around the code, as ISO/IEC 18004 asks for.
const QUIET: usize = 4;
/// Pixels per module, in PNG and SVG alike.
const SCALE: usize = 8;

/// The modules of a code with its quiet zone around it.
struct Grid {
    /// Modules per side, quiet zone included.
    side: usize,
    /// Row by row; `true` is dark.
    dark: Vec<bool>,
}

impl Grid {
    fn new(text: &str) -> Result<Self> {
        let code = encode(text)?;
        let inner = code.width();
        let side = inner + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for (index, color) in code.into_colors().into_iter().enumerate() {
            let (x, y) = (index % inner + QUIET, index / inner + QUIET);
            dark[y * side + x] = color == Color::Dark;
        }
        Ok(Self { side, dark })
    }

    /// Rows beyond the last one are light.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.dark.get(y * self.side + x).copied().unwrap_or(false)
    }
}

/// Codes are shown on screens, not printed on crates: the lowest correction level gives the largest modules.
fn encode(text: &str) -> Result<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| Error::internal(format!("a text of {} bytes does not fit a QR code: {error}", text.len())))
}

/// A PNG, one bit of grey per pixel, eight pixels per module. Errors if the text is too long for a QR code (2,953 bytes).
pub fn png(text: &str) -> Result<Vec<u8>> {
    let grid = Grid::new(text)?;
    let pixels = grid.side * SCALE;
    let row_bytes = pixels.div_ceil(8);
    let mut data = Vec::with_capacity(row_bytes * pixels);
    for y in 0..grid.side {
        let mut row = vec![0u8; row_bytes];
        for x in (0..pixels).filter(|x| !grid.is_dark(x / SCALE, y)) {
            row[x / 8] |= 0x80 >> (x % 8);
        }
        for _ in 0..SCALE {
            data.extend_from_slice(&row);
        }
    }
    let side = u32::try_from(pixels).map_err(Error::internal)?;
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(Error::internal)?;
    writer.write_image_data(&data).map_err(Error::internal)?;
    writer.finish().map_err(Error::internal)?;
    Ok(out)
}

/// An SVG document, dark on white.
pub fn svg(text: &str) -> Result<String> {
    let scale = u32::try_from(SCALE).map_err(Error::internal)?;
    Ok(encode(text)?.render::<svg::Color<'_>>().quiet_zone(true).module_dimensions(scale, scale).build())
}

/// Lines of half-blocks for a terminal, two modules a character. Light modules are drawn and dark ones left out, so that
/// the code is right on the dark background that most terminals have.
pub fn terminal(text: &str) -> Result<String> {
    let grid = Grid::new(text)?;
    let mut out = String::new();
    for y in (0..grid.side).step_by(2) {
        for x in 0..grid.side {
            // The side is odd, so the last line has no lower half: left empty.
            let lower_light = y + 1 < grid.side && !grid.is_dark(x, y + 1);
            out.push(match (!grid.is_dark(x, y), lower_light) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2@abcdefghijklmnopqrstuvwxyz,ABCDEFG=,hijk=,lmno==";

    #[test]
    fn png_shows_exactly_the_modules() {
        let bytes = png(TEXT).expect("a PNG");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("readable");
        let mut data = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut data).expect("pixels");
        let grid = Grid::new(TEXT).expect("a grid");
        assert_eq!((info.width as usize, info.bit_depth), (grid.side * SCALE, png::BitDepth::One));
        for y in 0..info.height as usize {
            for x in 0..info.width as usize {
                let light = data[y * info.line_size + x / 8] & (0x80 >> (x % 8)) != 0;
                assert_eq!(light, !grid.is_dark(x / SCALE, y / SCALE), "pixel {x},{y}");
            }
        }
        assert!((0..QUIET).all(|y| (0..grid.side).all(|x| !grid.is_dark(x, y))), "the quiet zone is light");
        assert!(grid.is_dark(QUIET, QUIET), "the finder pattern begins in the corner");
    }

    #[test]
    fn terminal_is_square_and_framed_in_light() {
        let text = terminal(TEXT).expect("text");
        let grid = Grid::new(TEXT).expect("a grid");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), grid.side.div_ceil(2));
        assert!(lines.iter().all(|line| line.chars().count() == grid.side));
        assert!(lines[0].chars().all(|c| c == '█'));
    }

    #[test]
    fn svg_is_a_document() {
        let text = svg("x").expect("SVG");
        assert!(text.contains("<svg") && text.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_text_too_long_is_an_error() {
        assert!(png(&"x".repeat(3_000)).is_err());
        assert!(png("").is_ok());
    }
}
