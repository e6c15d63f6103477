"""What every page of this package shares: one self-contained file, nothing fetched from anywhere, everything named escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, figures: Mapping[str, Any], **values: Any) -> str:
    """Returns a page from its template; `figures` are plotly specifications by the name the template gives them."""
    from plotly.offline import get_plotlyjs

    return (
        environment()
        .get_template(template)
        .render(
            figures=embed_json(figures),
            heights={name: spec["layout"]["height"] for name, spec in figures.items()},
            plotly=get_plotlyjs().replace("</script", "<\\/script"),
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
            **values,
        )
    )


def write_whole(out: Path, contents: Mapping[str, str]) -> None:
    """Writes the files of a folder, each replaced as a whole."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        part = out / f".{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(out / name)


def json_text(document: Mapping[str, Any]) -> str:
    """Returns the document as JSON text; NaN never gets here."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def environment() -> Environment:
    """Returns the templates with the filters they use; everything a file, bundle or store named is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters |= {"words": words, "percentage": percentage, "signed": signed, "fixed": fixed}
    return made


def embed_json(value: Any) -> str:
    """Returns JSON that cannot end the script element it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def words(name: str) -> str:
    """Returns a column's or finding's name as words: `view_position` is `view position`."""
    return name.replace("_", " ")


def percentage(share: float | None) -> str:
    """Returns `91.2 %`."""
    return "–" if share is None else f"{100 * share:.1f} %"


def signed(value: float, digits: int = 3) -> str:
    """Returns the number with its sign, minus as minus; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def fixed(value: float, digits: int = 3) -> str:
    """Returns the number with that many decimals."""
    return f"{value:.{digits}f}"
