"""How a rider stands, sits or lies: joints in units of the rider's height, y upwards.

The origin lies between the feet, on the board; the rider looks towards positive x.
"""

from __future__ import annotations

from tlcore.datasets._brush import Point

Pose = dict[str, Point]

SURF_POSES: tuple[Pose, ...] = (
    {  # trimming, arms out
        "foot0": (-0.26, 0.05), "knee0": (-0.14, 0.27),
        "foot1": (0.2, 0.05), "knee1": (0.26, 0.29),
        "hip": (-0.02, 0.43), "neck": (0.12, 0.74), "head": (0.19, 0.87),
        "elbow0": (-0.1, 0.68), "hand0": (-0.3, 0.78),
        "elbow1": (0.34, 0.66), "hand1": (0.54, 0.62),
    },
    {  # low, one hand in the face of the wave
        "foot0": (-0.3, 0.05), "knee0": (-0.1, 0.2), "foot1": (0.2, 0.05), "knee1": (0.32, 0.25),
        "hip": (-0.08, 0.28), "neck": (0.14, 0.5), "head": (0.25, 0.6),
        "elbow0": (-0.08, 0.5), "hand0": (-0.32, 0.42),
        "elbow1": (0.34, 0.44), "hand1": (0.52, 0.52),
    },
    {  # standing tall, arms up
        "foot0": (-0.16, 0.05), "knee0": (-0.1, 0.3),
        "foot1": (0.16, 0.05), "knee1": (0.18, 0.31),
        "hip": (0.0, 0.53), "neck": (0.03, 0.86), "head": (0.07, 1.0),
        "elbow0": (-0.18, 0.96), "hand0": (-0.36, 1.1),
        "elbow1": (0.24, 0.9), "hand1": (0.42, 0.98),
    },
)  # fmt: skip

PADDLING: Pose = {
    "foot0": (-0.62, 0.12), "knee0": (-0.42, 0.1), "foot1": (-0.66, 0.09), "knee1": (-0.42, 0.1),
    "hip": (-0.16, 0.12), "neck": (0.22, 0.22), "head": (0.34, 0.33),
    "elbow0": (0.34, 0.1), "hand0": (0.46, -0.04), "elbow1": (0.22, 0.06), "hand1": (0.04, -0.03),
}  # fmt: skip

SITTING: Pose = {
    "foot0": (0.14, -0.06), "knee0": (0.22, 0.1), "foot1": (0.02, -0.06), "knee1": (0.18, 0.1),
    "hip": (-0.06, 0.13), "neck": (-0.03, 0.5), "head": (0.0, 0.65),
    "elbow0": (0.08, 0.3), "hand0": (0.18, 0.16), "elbow1": (-0.12, 0.28), "hand1": (0.1, 0.14),
}  # fmt: skip

WINDSURF_POSE: Pose = {
    "foot0": (-0.16, 0.06), "knee0": (-0.3, 0.28), "foot1": (-0.44, 0.06), "knee1": (-0.5, 0.29),
    "hip": (-0.46, 0.48), "neck": (-0.4, 0.8), "head": (-0.34, 0.95),
    "elbow0": (-0.2, 0.76), "hand0": (-0.02, 0.8), "elbow1": (-0.32, 0.7), "hand1": (-0.22, 0.76),
}  # fmt: skip

KITE_POSE: Pose = {
    "foot0": (0.2, 0.06), "knee0": (0.06, 0.28), "foot1": (-0.14, 0.05), "knee1": (-0.18, 0.28),
    "hip": (-0.2, 0.45), "neck": (-0.32, 0.76), "head": (-0.34, 0.91),
    "elbow0": (-0.06, 0.7), "hand0": (0.12, 0.82), "elbow1": (-0.12, 0.66), "hand1": (0.06, 0.76),
}  # fmt: skip

TUCKED_POSE: Pose = {
    "foot0": (0.14, 0.06), "knee0": (0.16, 0.3), "foot1": (-0.2, 0.05), "knee1": (-0.04, 0.28),
    "hip": (-0.14, 0.34), "neck": (-0.2, 0.66), "head": (-0.18, 0.81),
    "elbow0": (-0.02, 0.68), "hand0": (0.12, 0.82), "elbow1": (-0.34, 0.5), "hand1": (-0.3, 0.26),
}  # fmt: skip
