"""Words of reports: how each finding is named, hinted at and declared clear, and how a writer denies, doubts or tells of the past.

Patterns only; `report_labels` judges with them. All are of our own, written while reading reports of our own and one half of
OpenI's. A text has single spaces when they are applied.
"""

from __future__ import annotations

import re
from functools import cache

_GAP = r"(?:(?!but\b|although\b|no\b|normal\b|without\b)[\w-]+[\s,/]+){0,3}?"
_HEART = r"(?:heart|cardiac (?:silhouette|size|contours?|shadow)|cardio-?mediastinal silhouette)"
_NODULAR = r"nodular (?:\w+ )?(?:opacit(?:y|ies)|densit(?:y|ies)|infiltrates?|shadows?|contours?)"
_PLEURAL_SCAR = r"pleural[- /](?:parenchymal |and )?(?:thickening|plaques?|scar\w*|capping)"

MENTIONS: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        r"cardiomegaly",
        rf"{_HEART}(?: size)?[\s,]+{_GAP}enlarged",
        rf"enlarge(?:d|ment of)(?: the)? {_HEART}",
        r"(?:cardiac|heart) enlargement",
        r"(?:increased?|increase in)(?: the)? (?:heart|cardiac) size",
        r"heart size(?: is| remains)? (?:\w+ )?increased",
    ),
    "enlarged cardiomediastinum": (
        r"(?:widen(?:ed|ing)|enlarge[dm]\w*|prominen\w+)(?: of)?(?: the)? (?:superior |upper )?(?:cardio)?mediastin\w+",
        rf"mediastin\w+\s+{_GAP}(?:widened|enlarged)",
        r"mediastinal (?:widening|enlargement)",
    ),
    "lung opacity": (
        r"opacit(?:y|ies)", r"opacifications?", r"infiltrat\w*", r"air ?-?space disease", r"consolidat\w+",
        r"(?<!bone )(?<!bony )(?<!metallic )densit(?:y|ies)",
    ),
    "lung lesion": (
        r"nodul(?:es?|ar|arity)", r"mass(?:es)?(?! effect)", r"(?<!bony )(?<!bone )(?<!osseous )(?<!lytic )(?<!blastic )lesions?",
        r"tumou?rs?", r"metasta\w+", r"granulomas?", r"mass-?like",
    ),
    "edema": (r"o?edema(?:tous)?", r"fluid overload", r"volume overload"),
    "consolidation": (r"consolidat\w+", r"air bronchograms?"),
    "pneumonia": (r"(?:broncho)?pneumonias?", r"pneumonic", r"pneumonitis"),
    "atelectasis": (
        r"atelecta\w+", r"(?:lobar|lobe|lung|segmental) (?:is |are )?collaps\w+",
        r"collapsed? (?:of the )?(?:\w+ ){0,2}(?:lobe|lung)",
    ),
    "pneumothorax": (r"(?:hydro)?pneumothora(?:x|ces)",),
    "pleural effusion": (
        r"(?<!pericardial )(?<!joint )effusions?", r"pleural (?:and|or|and/or) pericardial effusions?", r"pleural fluid",
        r"ha?emothorax", r"hydropneumothorax", r"fluid in the (?:\w+ )?fissures?",
    ),
    "pleural other": (_PLEURAL_SCAR, r"pleural calcifications?", r"fibrothorax"),
    "pleural thickening": (
        _PLEURAL_SCAR, r"thickening of the (?:\w+ )?(?:pleura|fissures?)", r"(?:bi)?apical (?:\w+ )?(?:cap|capping|thickening)",
        r"fissur\w+ thickening", r"thickened (?:pleura|fissures?)",
    ),
    "fracture": (r"fractur\w+", r"compression deformit(?:y|ies)"),
    "support devices": (
        r"(?:endotracheal|nasogastric|enteric|feeding|chest|tracheostomy|thoracostomy|et|ng) tubes?", r"catheters?", r"picc",
        r"port-?a-?cath", r"pacemakers?", r"pacer", r"defibrillator", r"aicd", r"sternotomy wires", r"stents?",
        r"(?:central|subclavian|jugular|support|monitoring)(?: venous)? lines?", r"(?:prosthetic|mechanical|artificial) valves?",
        r"lines? (?:and|or) tubes?", r"(?:support|monitoring) devices?",
    ),
    "infiltration": (r"infiltrat\w*",),
    "mass": (r"mass(?:es)?(?! effect)(?!-?like)", r"tumou?rs?"),
    "nodule": (r"nodules?", r"nodularity"),
    "emphysema": (
        r"(?<!subcutaneous )(?<!soft tissue )(?<!mediastinal )(?<!surgical )emphysema(?:tous)?", r"bullous disease", r"bullae",
    ),
    "fibrosis": (r"(?<!cystic )(?<!pleural )fibro(?:sis|tic)",),
    "hernia": (r"hernias?",),
}  # fmt: skip
"""How each finding is named; a key is a finding's name in lower case. Words of denial and doubt are no part of it."""

HINTS: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        r"borderline (?:\w+ )?(?:heart|cardiac)(?: size| silhouette)?", r"normal or (?:\w+ )?enlarged",
        rf"{_HEART}(?: size)?[\s,]+{_GAP}(?:borderline|prominent)",
    ),
    "edema": (r"vascular congestion", r"pulmonary congestion", r"venous congestion", r"congestive (?:changes?|failure)"),
    "atelectasis": (r"(?<!low )volume loss", r"loss of volume"),
    "pleural effusion": (r"blunt\w+ (?:of )?(?:the )?(?:\w+ ){0,3}(?:costophrenic|cp|angles?|sulc\w+)",
                         r"costophrenic (?:\w+ ){0,2}blunt\w+"),
    "nodule": (_NODULAR,),
    "mass": (r"mass-?like (?:\w+ )?(?:opacit\w+|densit\w+|consolidation)",),
    "fibrosis": (r"interstitial lung disease", r"honeycomb\w*"),
}  # fmt: skip
"""What may stand for a finding and does not name it: doubtful where it is said, absent where it is denied."""

_WELL = r"(?:(?!but\b|although\b|not\b|no\b|enlarged\b|abnormal|borderline\b)[\w-]+[\s,/]+){0,7}?"
CLEAR: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        rf"(?:heart|cardi\w+ (?:silhouettes?|size|contours?|shadow))[\s,]+{_WELL}(?:normal|unremarkable)(?!(?: \w+)? or)",
        r"normal (?:heart|cardiac|cardiomediastinal) (?:size|silhouette|contours?)", r"normal size of the heart",
        r"normal[- ]sized? heart",
    ),
    "enlarged cardiomediastinum": (
        rf"mediastin\w+[\s,]+{_WELL}(?:normal|unremarkable)", r"normal (?:cardio)?mediastin\w+",
        rf"cardiomediastin\w+[\s,]+{_WELL}(?:normal|unremarkable)",
    ),
    "lungs": (rf"lungs?(?: fields)?[\s,]+{_WELL}clear\b(?! of)", r"clear lungs?"),
}  # fmt: skip
"""Wordings that deny without a word of denial; `lungs` denies the findings of `IN_LUNGS`."""

IN_LUNGS = frozenset(("lung opacity", "consolidation", "infiltration", "pneumonia", "edema", "lung lesion", "mass", "nodule"))
ALIASES = {
    "effusion": "pleural effusion", "pleural effusions": "pleural effusion", "oedema": "edema", "pulmonary edema": "edema",
    "infiltrate": "infiltration", "opacity": "lung opacity", "airspace opacity": "lung opacity", "lung nodule": "nodule",
    "pulmonary nodule": "nodule", "lung mass": "mass", "nodule or mass": "lung lesion", "enlarged heart": "cardiomegaly",
}  # fmt: skip
HEALTHY = frozenset(("no finding", "no findings", "normal"))
NOT_A_DISEASE = frozenset(("support devices",))

_OF_MEASURE = (
    r"(?:change|increase|decrease|improvement|worsening|progression|resolution|enlargement|growth|interval (?:change|enlargement))"
)
NOT_A_DENIAL = re.compile(
    rf"\b(?:no|without|not any)\s+(?:(?:significant|interval|definite|appreciable|substantial|much|further|acute|gross|large"
    rf"|evidence of|real|other)\s+)*{_OF_MEASURE}\b"
    r"|\bnot (?:significantly |substantially |completely |entirely |fully |yet )?(?:changed|larger|bigger|smaller|increased"
    r"|decreased|worse\w*|improved|progressed|resolved|cleared|enlarged)\b|\bnot only\b|\bno (?:larger|smaller|worse|better)\b",
    re.IGNORECASE,
)
"""Denials of a change, not of what would have changed."""

DENIAL_BEFORE = re.compile(
    r"\b(?:no|not(?! (?:well|fully|completely|entirely|optimally|adequately|included|as)\b)|without|absence of|absent|negative for"
    r"|free of|free from|denies|nor|neither|clear of|resolution of|resolved|rather than|instead of|removal of)\b",
    re.IGNORECASE,
)
_WORDS = r"(?:(?!(?:is|are|was|were|has|have|remains?|but|with)\b)[\w'-]+\W+){0,5}?"
DENIAL_AFTER = re.compile(
    rf"^\W*{_WORDS}"
    r"(?:(?:is|are|was|were) (?:not|no longer)\b(?! (?:be |entirely |completely )?(?:excluded|ruled|well|as|only)\b)"
    r"|(?:is|are|was|were) (?:now )?(?:absent|resolved|excluded|ruled out|removed)"
    r"|(?:has|have) (?!not\b|partial|incomplete|nearly|almost|largely|mostly)(?:\w+ )?(?:resolved|cleared|disappeared|removed)"
    r"|(?:has|have) been removed|not (?:seen|identified|present|visualized|visible|demonstrated|evident|apparent)|unlikely)\b"
    r"|^\s*[:-]\s*(?:no|none|negative|absent|not seen)\b",
    re.IGNORECASE,
)
DOUBT_BEFORE = re.compile(
    r"\b(?:possib\w+|may|might|could|probab\w+|likely|suggest\w*|question\w*|suspect\w*|suspicio\w+|concern\w*|borderline"
    r"|equivocal|versus|vs|differential|indeterminate|exclude|rule out|evaluate for|correlate for|perhaps|presumably|consider\w*"
    r"|unclear)\b",
    re.IGNORECASE,
)
DOUBT_AFTER = re.compile(
    r"^\W*(?:\w+\W+){0,4}?"
    r"(?:(?:can ?not|can't|could not|not|difficult to)(?: be)?(?: entirely| completely| definitely)? (?:excluded?|ruled out)"
    r"|(?:is|are|was|were) (?:\w+ )?(?:possible|suspected|questionable|questioned|suggested|likely|probable|considered)"
    r"|versus|vs|suspected|suggested)\b|^\W*\?|\b(?:would|could) be (?:a )?consider"
    r"|^ may not be (?:\w+ )?(?:demonstrated|visible|seen|apparent|evident)",
    re.IGNORECASE,
)
"""Doubt behind a mention is of the mention itself only in these forms: "a nodule, presumably a granuloma" is a nodule."""

DOUBTLESS = re.compile(r"\bno(?:t)? (?:suspicious|questionable|concerning)\b", re.IGNORECASE)
INSIDE = re.compile(r"\b(?:(not|no|without)|(borderline|possibly|probably|questionabl[ey]|likely|may|might))\b", re.IGNORECASE)
"""Denial or doubt between the words of one mention: "the heart is not enlarged"."""

HISTORY = re.compile(
    r"\b(?:(?:history|hx|h/o)(?: of)? (?:[\w-]+ ){0,4}"
    r"|(?:previous|prior) (?:(?!exam|stud|film|radiograph|ct\b|chest|image)[\w-]+ )?)$",
    re.IGNORECASE,
)
"""In front of a mention: the past, not the film."""
ASIDE = re.compile(r",? which (?:was|were|had been) (?:\w+ )?(?:seen|noted|present|described|identified)\b[^,;]*,", re.IGNORECASE)

_QUALITIES = (
    r"(?:stable|unchanged|mild|moderate|severe|small|minimal|tiny|trace|patchy|bibasilar|bilateral|left|right|new|persistent|residual"
    r"|calcified|chronic|old|large (?:left|right|bilateral))\b"
)
_SUBJECTS = r"(?:the|there|a|an|this|these|heart|lungs?|cardi\w+|mediastin\w+|bon(?:y|es?)|osseous)\b"
_VERBS = r"(?:is|are|was|were|has|have|remains?|persists?|shows?|appears?|demonstrates?)\b"
_NO_LIST = r"(?!.*\b(?:or|nor)\b)"
CUT = re.compile(
    r"(?<!\w:);|:(?!\s*(?:no|none|negative|absent|not seen)\b)"
    r"|\bbut\b|\bhowever\b|\balthough\b|\bthough\b|\bexcept\b|\bapart from\b|\baside from\b|\bother than\b|\bwhile\b|\bwhich\b"
    r"|\bwith the exception of\b|,\s*(?=there (?:is|are)\b)|,\s*(?=with\b)|\band there (?:is|are)\b"
    rf"|(?:,\s*(?:and\s+)?|\band\s+)(?={_SUBJECTS}(?: [\w-]+){{0,4}}? {_VERBS})"
    rf"|(?:,\s*(?:and\s+)?|\band\s+)(?=(?:[\w-]+ ){{1,4}}?(?:remains?|persists?|continues?)\b)"
    rf"|(?:,\s*(?:and\s+)?|\band\s+|\bwith\s+(?:an? |some )?){_NO_LIST}(?={_QUALITIES})"
    rf"|,\s*(?:and\s+)(?={_QUALITIES}(?: [\w-]+){{0,4}}? {_VERBS})",
    re.IGNORECASE,
)
"""Where denial and doubt end. A list that goes on to "or" is not cut: "no consolidation, large effusion, or pneumothorax"."""


@cache
def naming(key: str) -> re.Pattern[str]:
    """What names a finding; a word of no list stands for itself."""
    return _any(MENTIONS.get(key) or (re.escape(key).replace(r"\ ", r"\s+") + r"s?",))


@cache
def hinting(key: str) -> re.Pattern[str] | None:
    """What hints at a finding, if anything does."""
    return _any(HINTS[key]) if key in HINTS else None


@cache
def clearing(key: str) -> re.Pattern[str] | None:
    """What says that all is well with it, if anything does."""
    wordings = CLEAR.get(key, ()) + (CLEAR["lungs"] if key in IN_LUNGS else ())
    return _any(wordings) if wordings else None


def _any(wordings: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(wordings)})\b", re.IGNORECASE)
