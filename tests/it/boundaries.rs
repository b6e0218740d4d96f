//! Balancing: broken HTML of a nanoservice stays in its place. Compared with html5ever, which builds trees as browsers do.

use pasteup::page::html::balance::balanced;

use super::fuzzing::balance::{is_for_browsers, tree};

/// The number of broken fragments that are checked.
const FRAGMENTS: usize = 10_000;

/// Valid HTML as nanoservices send it.
const WHOLE: [&str; 8] = [
    "<article class=card><h2><a href='/x'>Title &amp; more</a></h2><p>First.<p>Second, <em>with <b>stress</b></em>.\
     <ul><li>one<li>two <i>words</i></ul><!-- end --></article>",
    "<table><caption>Table</caption><thead><tr><th>Team<th>Points</thead><tbody><tr><td><a href=a>A</a><td>3\
     <tr><td><b>B</b><td>1</tbody></table>",
    "<form action=/go><fieldset><legend>Search</legend><label>Where <input name=q value='a>b'></label><select name=s>\
     <optgroup label=x><option selected>1<option>2</optgroup></select><textarea><b></textarea><button>Go</button>\
     </fieldset></form>",
    "<svg viewBox='0 0 8 8'><title>Sun</title><g><path d='M0 0'/><foreignObject><p>HTML</p></foreignObject></g>\
     <style>a > b {}</style></svg><math><mi>x</mi><mo>&lt;</mo></math>",
    "<script>if (a < b) document.write('<p>' + \"</div>\")</script><style>p > a { color: red }</style>\
     <noscript><img src=x alt='no scripts'></noscript><template><tr><td>row</td></tr></template>",
    "<dl><dt>Term<dd>Meaning<dt>Other<dd><p>More</dl><figure><img src=a.jpg alt=\"\"><figcaption>What</figcaption></figure>",
    "<details open><summary>More</summary><blockquote><p>Quote</blockquote></details><ruby>a<rt>b<rp>c</ruby><hr>",
    "<h1>Head</h1><nav><ol><li><a href=1>1</a><ul><li><nobr>1.1</nobr></ul><li><button>2</button></ol></nav><pre>\n x</pre>",
];

/// Tags that open or close elements around them.
const TAGS: [&str; 64] = [
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<b>",
    "</b>",
    "<a href=x>",
    "</a>",
    "<i>",
    "</i>",
    "<nobr>",
    "</nobr>",
    "<font color=x>",
    "</font>",
    "<table>",
    "</table>",
    "<tr>",
    "</tr>",
    "<td>",
    "</td>",
    "<tbody>",
    "<caption>",
    "<colgroup>",
    "<col>",
    "<select>",
    "</select>",
    "<option>",
    "<form>",
    "</form>",
    "<button>",
    "</button>",
    "<li>",
    "</li>",
    "<ul>",
    "</ul>",
    "<dd>",
    "<h1>",
    "</h2>",
    "<svg>",
    "</svg>",
    "<math>",
    "<mi>",
    "<foreignObject>",
    "<desc>",
    "<title>",
    "</title>",
    "<template>",
    "</template>",
    "<object>",
    "</object>",
    "<textarea>",
    "<script>",
    "</script>",
    "<style>",
    "<noscript>",
    "</noscript>",
    "</main>",
    "</body>",
    "<body class=x>",
    "<br/>",
    "</br>",
    "<!--",
    "<plaintext>",
    "<![CDATA[",
];

/// Splits HTML roughly into tags and texts.
fn pieces(html: &str) -> Vec<&str> {
    html.split_inclusive('>')
        .flat_map(|piece| {
            let (text, tag) = piece.split_at(piece.rfind('<').unwrap_or(0));
            [text, tag]
        })
        .filter(|piece| !piece.is_empty())
        .collect()
}

/// A randomly broken fragment, as from a template with an error, from an editor's hand, or through a broken connection.
pub(crate) fn broken(random: &mut fastrand::Rng) -> String {
    let mut all = pieces(random.choice(WHOLE).expect("the list is not empty"));
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=all.len());
        match random.u8(..8) {
            0..=2 => all.insert(at, random.choice(TAGS).expect("the list is not empty")),
            3 | 4 if at < all.len() => drop(all.remove(at)),
            5 if at < all.len() => {
                let other = random.usize(..all.len());
                all.swap(at, other);
            }
            6 => drop(
                all.splice(at..at, pieces(random.choice(WHOLE).expect("the list is not empty")).into_iter().take(4)),
            ),
            _ => {}
        }
    }
    let mut html = all.concat();
    match random.u8(..8) {
        // All of it is ASCII.
        0 => html.truncate(random.usize(..=html.len())),
        1 => drop(html.remove(random.usize(..html.len().max(1)))),
        2 => html.insert_str(
            random.usize(..=html.len()),
            random.choice(["<", ">", "'", "\"", "/", "</", "<!", "&", " x='"]).expect("the list is not empty"),
        ),
        _ => {}
    }
    html
}

#[test]
fn elements_opened_by_a_broken_fragment_end_with_it() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut tried = 0;
    for _ in 0..FRAGMENTS {
        let whole = balanced(&broken(&mut random)).into_owned();
        if is_for_browsers(&whole) {
            tree::stays_in_place(&whole);
            tried += 1;
        }
    }
    assert!(tried > FRAGMENTS * 9 / 10, "only {tried} fragments were checked");
}
