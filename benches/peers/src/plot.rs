//! The figures as a picture: time of a decision over the number of rules, both logarithmic.

use crate::measure::{Figure, Outcome};
use crate::report::{OURS, distinct, grouped};
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 520);
/// Room at the right for the names, which stand at the ends of their lines.
const NAMES_WIDTH: u32 = 190;
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x0b, 0x6e, 0x4f),
    RGBColor(0x4c, 0xb9, 0x8a),
    RGBColor(0xc4, 0x45, 0x36),
    RGBColor(0xe0, 0x8e, 0x45),
    RGBColor(0x2f, 0x5d, 0xa8),
    RGBColor(0x7a, 0xa6, 0xdc),
    RGBColor(0x77, 0x4c, 0x9e),
    RGBColor(0x55, 0x55, 0x55),
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
                let text =
                    Text::new(name.to_owned(), (x + 8, y - 6), ("sans-serif", 13).into_font().color(&colour));
                area.draw(&text)?;
            }
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
