"""How far a film may be varied in training, as plain data: the command line offers it, `transforms` does it. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AugmentationOptions:
    """How each training film is varied; no horizontal flip unless asked for: the heart is on the left."""

    rotate_deg: float = 7.0
    """turn by up to so many degrees"""
    scale: float = 0.10
    """enlarge or shrink by up to this share"""
    shift: float = 0.05
    """move by up to this share of the side"""
    gamma: float = 0.25
    """change the grey curve: exponent between 1/(1+x) and 1+x"""
    contrast: float = 0.15
    """stretch or squeeze the greys by up to this share"""
    noise: float = 0.02
    """add noise of up to this standard deviation; the grey range is 1"""
    blur: float = 0.5
    """blur by up to this standard deviation, in pixels"""
    horizontal_flip: bool = False
    """mirror half of the films; not where left and right matter"""
    mixup: float = 0.0
    """mix pairs of films; the alpha of the beta distribution, 0 = never"""
    cutmix: float = 0.0
    """paste a box of one film into another; the alpha of the beta distribution, 0 = never"""
