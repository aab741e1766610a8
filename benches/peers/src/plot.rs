//! The figures as a picture: time of a decision over the number of rules, both logarithmic.

use crate::measure::{Figure, Outcome};
use crate::report::{OURS, distinct, grouped};
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 520);
/// Room at the right for the names, which stand at the ends of their lines.
const NAMES_WIDTH: u32 = 190;
/// How far names are apart, so that none covers another.
const NAME_HEIGHT: i32 = 16;
const COLOURS: [RGBColor; 10] = [
    RGBColor(0x0b, 0x6e, 0x4f),
    RGBColor(0x88, 0x88, 0x88),
    RGBColor(0x3a, 0xa8, 0x78),
    RGBColor(0xc4, 0x45, 0x36),
    RGBColor(0xe0, 0x8e, 0x45),
    RGBColor(0x7a, 0xa6, 0xdc),
    RGBColor(0x2f, 0x5d, 0xa8),
    RGBColor(0x77, 0x4c, 0x9e),
    RGBColor(0x8a, 0x6d, 0x3b),
    RGBColor(0xc0, 0x39, 0x8f),
];

/// An SVG without anything from elsewhere.
pub fn draw(figures: &[Figure]) -> Outcome<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let slowest = figures.iter().map(|figure| figure.decide_ns).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(NAMES_WIDTH)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .caption("One decision, by the number of rules", ("sans-serif", 18))
            .build_cartesian_2d((10_f64..100_000_f64).log_scale(), (50_f64..slowest * 2.0).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(0xe4, 0xe4, 0xe4))
            .x_desc("rules")
            .x_label_formatter(&|rules| format!("{rules:.0}"))
            .y_label_formatter(&|ns| axis_time(*ns))
            .draw()?;
        let mut names: Vec<(i32, i32, &str, RGBColor)> = Vec::new();
        for (at, name) in distinct(figures.iter().map(|figure| figure.name.as_str())).into_iter().enumerate()
        {
            let colour = COLOURS[at % COLOURS.len()];
            let points: Vec<(f64, f64)> = figures
                .iter()
                .filter(|figure| figure.name == name)
                .map(|figure| (f64::from(u32::try_from(figure.rules).unwrap_or(u32::MAX)), figure.decide_ns))
                .collect();
            let style = colour.stroke_width(if name.starts_with(OURS) { 3 } else { 2 });
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            let dot = |point: &(f64, f64)| Circle::new(*point, 3, colour.filled());
            chart.draw_series(points.iter().map(dot))?;
            if let Some(last) = points.last() {
                let (x, y) = chart.backend_coord(last);
                names.push((x, y, name, colour));
            }
        }
        names.sort_by_key(|(_, y, ..)| *y);
        let mut free = i32::MIN;
        for (x, y, name, colour) in names {
            let at = y.max(free);
            free = at + NAME_HEIGHT;
            let font = ("sans-serif", 13).into_font().color(&colour);
            area.draw(&Text::new(name.to_owned(), (x + 10, at - 6), font))?;
        }
        area.present()?;
    }
    let sizes = distinct(figures.iter().map(|figure| figure.rules));
    let all: Vec<String> = sizes.into_iter().map(grouped).collect();
    let title = format!("<title>Time of one decision at {} rules, by engine</title>\n", all.join(", "));
    // Behind the opening tag, so that it is the title of the whole picture.
    Ok(match svg.find(">\n") {
        Some(at) => format!("{}{title}{}", &svg[..at + 2], &svg[at + 2..]),
        None => svg,
    })
}

fn axis_time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        ns => format!("{:.0} s", ns / 1e9),
    }
}
