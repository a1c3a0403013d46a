//! A flame graph: each function is as wide as its share of all samples, above the one that called it.

use std::fmt::Write;

use super::stacks::Frame;

/// The pixels of the graph's width, of a row's height, and of a character.
const WIDTH: f64 = 1_600.0;
const HEIGHT: f64 = 16.0;
const CHARACTER: f64 = 6.6;

/// Functions of fewer pixels are left out.
const NARROWEST: f64 = 0.4;

/// The rows above the graph, for its title.
const TITLE: f64 = 2.0;

/// Returns the graph of a row as SVG. A browser shows the name and the share of a function under the mouse.
pub(super) fn svg(row: &str, root: &Frame) -> String {
    let height = (root.depth() as f64 + TITLE + 1.0) * HEIGHT;
    let mut graph = Graph { all: root.samples.max(1) as f64, height, text: String::new() };
    let title = format!("{row}: {} samples of the service and Postgres", root.samples);
    graph.draw(root, &title, 0.0, 1.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"4\" y=\"16\">{}</text>\n{}</svg>\n",
        escaped(&title),
        graph.text
    )
}

/// A graph that is drawn.
struct Graph {
    all: f64,
    height: f64,
    text: String,
}

impl Graph {
    /// Draws a function, which begins at this pixel, and those that it called, in this row from below.
    fn draw(&mut self, frame: &Frame, name: &str, left: f64, row: f64) {
        let width = frame.samples as f64 / self.all * WIDTH;
        if width < NARROWEST {
            return;
        }
        self.rectangle(frame, name, (left, width), self.height - row * HEIGHT);
        let mut left = left;
        for (name, call) in &frame.calls {
            self.draw(call, name, left, row + 1.0);
            left += call.samples as f64 / self.all * WIDTH;
        }
    }

    fn rectangle(&mut self, frame: &Frame, name: &str, (left, width): (f64, f64), top: f64) {
        let percent = 100.0 * frame.samples as f64 / self.all;
        let room = ((width - 4.0) / CHARACTER).max(0.0) as usize;
        let label: String = name.chars().take(room).collect();
        // A String takes all that is written to it.
        let _ = writeln!(
            self.text,
            "<g><title>{name}: {samples} samples, {percent:.1} %</title>\
             <rect x=\"{left:.1}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"{height:.0}\" fill=\"{color}\"/>\
             <text x=\"{x:.1}\" y=\"{y:.0}\">{label}</text></g>",
            name = escaped(name),
            samples = frame.samples,
            height = HEIGHT - 1.0,
            color = color(name),
            x = left + 2.0,
            y = top + 11.0,
            label = escaped(&label),
        );
    }
}

/// Returns a warm colour that a name always has.
fn color(name: &str) -> String {
    let sum = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("rgb({},{},{})", 205 + sum % 50, 80 + sum / 50 % 130, sum / 6_500 % 55)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
