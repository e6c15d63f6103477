"""What a report says of each finding: present, absent, doubtful or nothing; by rules one can read. Standard library only.

A mention of a finding is present unless words of denial or of doubt reach it. Denial reaches forward from "no", "without" to the
end of its clause, over lists ("no consolidation, effusion or pneumothorax"), and back from "has resolved", "is not seen"; "no
change in the effusion" denies nothing. Doubt ("possible", "cannot be excluded", "suggests") beats denial. In a report, present
beats doubt, and doubt beats denial.

Sources: the order of decisions is that of NegEx (Chapman 2001) and the CheXpert labeler (Irvin 2019, arXiv:1901.07031); the words
    are ours. It labels for training and for sentences, it does not read: docs/reports.md says how often it is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache

from vesalius.datasets.reports import sections, sentences

PRESENT, DOUBTFUL, ABSENT = 1.0, -1.0, 0.0

_SIZE = r"(?:\w+\W+){0,3}?"
MENTIONS: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        r"cardiomegaly",
        rf"(?:heart|cardiac (?:silhouette|size|contour|shadow)|cardiomediastinal silhouette)(?: size)?\W+{_SIZE}enlarged",
        r"enlarge(?:d|ment of the) (?:heart|cardiac (?:silhouette|contour|shadow)|cardiomediastinal silhouette)",
        r"cardiac enlargement",
    ),
    "enlarged cardiomediastinum": (
        r"(?:widen(?:ed|ing)|enlarge[dm]\w*|prominen\w+)(?: of)?(?: the)? (?:superior |upper )?(?:cardio)?mediastin\w+",
        rf"mediastin\w+\W+{_SIZE}(?:widened|enlarged)",
    ),
    "lung opacity": (
        r"opacit(?:y|ies)", r"opacifications?", r"infiltrat\w*", r"air ?space disease", r"consolidat\w+", r"densit(?:y|ies)",
    ),
    "lung lesion": (
        r"nodul(?:e|es|ar|arity)", r"mass(?:es)?(?!\s+effect)", r"lesions?", r"tumou?rs?", r"metasta\w+", r"granulomas?",
    ),
    "edema": (r"(?:o)?edema", r"vascular congestion", r"pulmonary congestion", r"fluid overload"),
    "consolidation": (r"consolidat\w+", r"air bronchograms?"),
    "pneumonia": (r"(?:broncho)?pneumonia", r"pneumonic", r"pneumonitis"),
    "atelectasis": (r"atelecta\w+", r"lobar collapse", r"volume loss"),
    "pneumothorax": (r"(?:hydro)?pneumothora(?:x|ces)",),
    "pleural effusion": (r"(?<!pericardial )effusions?", r"pleural fluid", r"h(?:a)?emothorax", r"hydropneumothorax"),
    "pleural other": (
        r"pleural (?:thickening|plaques?|scar\w*|calcification)", r"fibrothorax", r"pleural parenchymal scar\w*",
    ),
    "pleural thickening": (
        r"pleural thickening", r"thickening of the pleura", r"pleural (?:plaques?|scar\w*|capping)",
        r"apical (?:cap|capping|thickening)",
    ),
    "fracture": (r"fractur\w+", r"compression deformit(?:y|ies)"),
    "support devices": (
        r"(?:endotracheal|nasogastric|enteric|feeding|chest|tracheostomy|et|ng) tubes?", r"catheters?", r"picc", r"port-?a-?cath",
        r"pacemaker", r"pacer", r"defibrillator", r"aicd", r"(?:central|subclavian|jugular)(?: venous)? lines?",
        r"sternotomy wires",
        r"(?:prosthetic|mechanical) valves?", r"stents?",
    ),
    "infiltration": (r"infiltrat\w*",),
    "mass": (r"mass(?:es)?(?!\s+effect)", r"tumou?rs?"),
    "nodule": (r"nodul(?:e|es|ar|arity)",),
    "emphysema": (r"emphysema\w*", r"bullous disease"),
    "fibrosis": (r"(?<!pleural )fibro(?:sis|tic)", r"interstitial lung disease"),
    "hernia": (r"hernias?",),
}  # fmt: skip
"""How each finding is named; a key is a finding's name in lower case. Words of denial and doubt are no part of it."""

CLEAR: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        rf"heart(?: size)?\W+{_SIZE}normal", r"normal (?:heart|cardiac) (?:size|silhouette)", r"normal size of the heart",
        rf"cardi\w+ (?:silhouette|size|contour|shadow)\W+(?:and \w+\W+)?(?:size )?{_SIZE}(?:within normal|normal|unremarkable)",
        r"heart is not enlarged",
    ),
    "enlarged cardiomediastinum": (rf"mediastin\w+\W+{_SIZE}(?:within normal|normal|unremarkable)", r"normal mediastin\w+"),
    "lungs": (rf"lungs?(?: fields)?\W+{_SIZE}clear", r"clear lungs?"),
}  # fmt: skip
"""Wordings that deny without a word of denial; `lungs` denies the findings of `_IN_LUNGS`."""

_IN_LUNGS = frozenset(("lung opacity", "consolidation", "infiltration", "pneumonia", "edema", "lung lesion", "mass", "nodule"))
_ALIASES = {
    "effusion": "pleural effusion", "pleural effusions": "pleural effusion", "oedema": "edema", "pulmonary edema": "edema",
    "infiltrate": "infiltration", "opacity": "lung opacity", "airspace opacity": "lung opacity", "lung nodule": "nodule",
    "pulmonary nodule": "nodule", "lung mass": "mass", "nodule or mass": "lung lesion", "enlarged heart": "cardiomegaly",
}  # fmt: skip
_HEALTHY = frozenset(("no finding", "no findings", "normal"))
_NOT_A_DISEASE = frozenset(("support devices",))

_PSEUDO = re.compile(
    r"\b(?:no|without)\s+(?:significant |interval |definite |appreciable |substantial |much |further )*"
    r"(?:change|increase|decrease|improvement|worsening|progression)\b"
    r"|\bnot (?:significantly |substantially )?changed\b|\bnot only\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:no|not|without|absence of|absent|negative for|free of|denies|nor|neither|clear of|resolution of|resolved"
    r"|rather than|instead of)\b",
    re.IGNORECASE,
)
_DENIAL_AFTER = re.compile(
    r"^\W*(?:\w+\W+){0,5}?"
    r"(?:(?:is|are|was|were) (?:not|no longer)\b(?! (?:excluded|ruled))|(?:is|are|was|were) (?:absent|resolved|excluded|ruled out)"
    r"|(?:has|have) (?:\w+ )?(?:resolved|cleared|disappeared)"
    r"|not (?:seen|identified|present|visualized|demonstrated|evident)|unlikely)\b",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:possib\w+|may|might|could|probabl[ey]|likely|suggest\w*|question\w*|suspect\w*|suspicio\w+|concern\w*|borderline"
    r"|equivocal|versus|vs|differential|indeterminate|exclude|rule out|evaluate for|perhaps|presumably|consider\w*|unclear)\b",
    re.IGNORECASE,
)
_DOUBT_AFTER = re.compile(
    r"^\W*(?:\w+\W+){0,4}?"
    r"(?:(?:can ?not|could not|not|difficult to)(?: be)?(?: entirely| completely| definitely)? (?:excluded?|ruled out)"
    r"|(?:is|are|was|were) (?:\w+ )?(?:possible|suspected|questionable|questioned|suggested|likely|probable|considered)"
    r"|versus|vs|suspected|suggested)\b|^\W*\?",
    re.IGNORECASE,
)
"""Doubt behind a mention is of the mention itself only in these forms: "a nodule, presumably a granuloma" is a nodule."""
_DOUBTLESS = re.compile(r"\bno(?:t)? (?:suspicious|questionable|concerning)\b", re.IGNORECASE)
_CLAUSE = re.compile(
    r";|:|\bbut\b|\bhowever\b|\balthough\b|\bthough\b|\bexcept\b|\bapart from\b|\baside from\b|\bother than\b|\bwhile\b|\bwhich\b"
    r"|\bwith the exception of\b|,\s*(?=there (?:is|are)\b)|,\s*(?=with\b)|\band there (?:is|are)\b",
    re.IGNORECASE,
)
_NEW_STATEMENT = re.compile(
    r",\s*(?=(?:stable|unchanged|mild|moderate|severe|small|large|minimal|trace|patchy|bibasilar|bilateral|left|right|new|persistent"
    r"|calcified|chronic|old)\b)",
    re.IGNORECASE,
)
_LIST_WORD = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)


def label_sentence(text: str, findings: Sequence[str]) -> dict[str, float]:
    """What one sentence says of each finding: 1 present, -1 doubtful, 0 absent, NaN nothing.

    Args:
        text: A sentence.
        findings: Names: CheXpert's, NIH's, or any other word, which then stands for itself. "No Finding" is 1 where the sentence
            denies or leaves out all disease and speaks of normality, 0 where it names one.
    """
    clauses = _clauses(text)
    return {name: _healthy([text]) if _key(name) in _HEALTHY else _said(clauses, _key(name)) for name in findings}


def label_report(text: str, findings: Sequence[str]) -> dict[str, float]:
    """What a report's findings and impression say of each finding; indication, comparison and technique are not read.

    Args:
        text: A report, with or without headings.
        findings: As in `label_sentence`. "No Finding" is 1 where nothing known here is present or doubtful and the report says
            something at all.
    """
    found = sections(text)
    read = f"{found.findings}\n{found.impression}" if found.findings or found.impression else found.other
    every = sentences(read)
    rows = [label_sentence(one, [name for name in findings if _key(name) not in _HEALTHY]) for one in every]
    labels: dict[str, float] = {}
    for name in findings:
        if _key(name) in _HEALTHY:
            labels[name] = _healthy(every)
            continue
        labels[name] = _strongest([row[name] for row in rows])
    return labels


def _strongest(said: Sequence[float]) -> float:
    """Present beats doubt, doubt beats denial; NaN if nothing is said."""
    return next((value for value in (PRESENT, DOUBTFUL, ABSENT) if value in said), math.nan)


def _healthy(every: Sequence[str]) -> float:
    """1 where no disease is present or doubtful in any sentence, 0 where one is, NaN without a sentence."""
    if not every:
        return math.nan
    diseases = [name for name in MENTIONS if name not in _NOT_A_DISEASE]
    clauses = [clause for one in every for clause in _clauses(one)]
    return ABSENT if any(_said(clauses, name) in (PRESENT, DOUBTFUL) for name in diseases) else PRESENT


def _key(name: str) -> str:
    word = " ".join(name.lower().replace("_", " ").split())
    return _ALIASES.get(word, word)


def _clauses(sentence: str) -> list[str]:
    """Parts of a sentence that words of denial and doubt do not cross."""
    parts: list[str] = []
    start = 0
    for cut in _CLAUSE.finditer(sentence):
        parts.append(sentence[start : cut.start()])
        start = cut.start()
    parts.append(sentence[start:])
    cuts: list[str] = []
    for part in parts:
        # "No effusion, mild atelectasis": a comma ends a denial unless "or" says that the list goes on.
        cuts += [part] if _LIST_WORD.search(part) else _NEW_STATEMENT.split(part)
    return [part for part in cuts if part.strip()]


def _said(clauses: Sequence[str], key: str) -> float:
    """The strongest statement of a finding in these clauses; NaN if it is not mentioned."""
    said: list[float] = []
    for clause in clauses:
        said += [_judge(clause, mention) for mention in _pattern(key).finditer(clause)]
        clear = CLEAR.get(key, ()) + (CLEAR["lungs"] if key in _IN_LUNGS else ())
        if any(re.search(rf"\b(?:{wording})", clause, re.IGNORECASE) for wording in clear):
            said.append(ABSENT)
    return _strongest(said)


def _judge(clause: str, mention: re.Match[str]) -> float:
    """Is this mention present, doubtful or absent?"""
    plain = _PSEUDO.sub(lambda found: "-" * len(found.group()), clause)
    before, after = plain[: mention.start()], plain[mention.end() :]
    doubted = _DOUBT.search(_DOUBTLESS.sub("no", before)) or _DOUBT_AFTER.search(after)
    denied = _DENIAL.search(before) or _DENIAL_AFTER.search(after)
    if doubted and not (denied and _only_reason(before)):
        return DOUBTFUL
    return ABSENT if denied else PRESENT


def _only_reason(before: str) -> bool:
    """Is the doubt inside a denial: "no opacity to suggest pneumonia", "no finding suspicious for"?"""
    denial = _DENIAL.search(before)
    doubt = _DOUBT.search(before)
    return (
        denial is not None and doubt is not None and denial.start() < doubt.start() and not re.search(r"exclude|ruled out", before)
    )


@cache
def _pattern(key: str) -> re.Pattern[str]:
    wordings = MENTIONS.get(key) or (re.escape(key).replace(r"\ ", r"\s+") + r"s?",)
    return re.compile(rf"\b(?:{'|'.join(wordings)})\b", re.IGNORECASE)
