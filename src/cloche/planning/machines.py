"""Machines that models are trained on: what their makers publish of them. Loads no torch.

Peaks are of dense matrix products (no structured sparsity), accumulated in float32. Prices are
those that a large provider listed for one device and hour on the day named; they change, so a plan
that matters gives its own. Memory is counted in 1e9 bytes, as it is sold.
"""

from dataclasses import dataclass
from typing import Literal

from cloche.config import nearest
from cloche.errors import SettingError
from cloche.planning.memory import Precision

_A100 = "NVIDIA A100 datasheet, 2021"
_HOPPER = "NVIDIA H100 and H200 datasheets, half of the figures with sparsity"
_AMPERE = "NVIDIA GA102 whitepaper, table 9 (float32 accumulation)"
_ADA = "NVIDIA Ada whitepaper, table 2 (float32 accumulation)"
_BLACKWELL = "NVIDIA RTX Blackwell whitepaper (float32 accumulation)"
_APPLE = "Apple's announcements: float32 of the GPU; no matrix peak in bfloat16 is published"


@dataclass(frozen=True)
class MachineType:
    """One device."""

    name: str
    about: str
    half_flops: float | None
    """Peak in 16 bits, operations a second; None where none is published."""
    half: Literal["bfloat16", "float16"] | None
    """Which 16 bits: older devices have no bfloat16."""
    float32_flops: float
    memory_bytes: float
    bytes_per_second: float
    """Memory bandwidth."""
    source: str
    dollars_per_hour: float | None = None
    price_source: str | None = None

    def peak(self, precision: Precision) -> float:
        """Operations a second in a precision: 16 bits, of whichever kind it has, for bfloat16."""
        if precision == "float32" or self.half_flops is None:
            return self.float32_flops
        return self.half_flops

    @property
    def precision(self) -> Precision:
        """The faster one."""
        return "float32" if self.half_flops is None else "bfloat16"


def _device(
    name: str,
    about: str,
    *,
    half: float | None,
    float32: float,
    memory: float,
    bandwidth: float,
    source: str,
    price: tuple[float, str] | None = None,
    kind: Literal["bfloat16", "float16"] = "bfloat16",
) -> MachineType:
    """From TFLOP/s, GB and GB/s."""
    return MachineType(
        name=name,
        about=about,
        half_flops=None if half is None else half * 1e12,
        half=None if half is None else kind,
        float32_flops=float32 * 1e12,
        memory_bytes=memory * 1e9,
        bytes_per_second=bandwidth * 1e9,
        source=source,
        dollars_per_hour=price[0] if price else None,
        price_source=price[1] if price else None,
    )


MACHINES = (
    _device(
        "a100-40",
        "NVIDIA A100 SXM, 40 GB",
        half=312,
        float32=19.5,
        memory=40,
        bandwidth=1555,
        source=_A100,
        price=(2.75, "AWS p4d.24xlarge, $21.96 for 8, on demand, June 2025"),
    ),
    _device(
        "a100-80",
        "NVIDIA A100 SXM, 80 GB",
        half=312,
        float32=19.5,
        memory=80,
        bandwidth=2039,
        source=_A100,
        price=(3.43, "AWS p4de.24xlarge, $27.45 for 8, on demand, June 2025"),
    ),
    _device(
        "h100",
        "NVIDIA H100 SXM, 80 GB",
        half=989.4,
        float32=67,
        memory=80,
        bandwidth=3350,
        source=_HOPPER,
        price=(6.88, "AWS p5.48xlarge, $55.04 for 8, on demand, June 2025"),
    ),
    _device(
        "h200",
        "NVIDIA H200 SXM, 141 GB",
        half=989.4,
        float32=67,
        memory=141,
        bandwidth=4800,
        source=_HOPPER,
        price=(7.91, "AWS p5en.48xlarge, $63.30 for 8, on demand, June 2025"),
    ),
    _device(
        "b200",
        "NVIDIA B200 SXM, 180 GB",
        half=2250,
        float32=75,
        memory=180,
        bandwidth=7700,
        source="NVIDIA HGX B200 datasheet, an eighth of it, half of the figures with sparsity",
        price=(14.24, "AWS p6-b200.48xlarge, $113.93 for 8, on demand, June 2025"),
    ),
    _device(
        "l40s",
        "NVIDIA L40S, 48 GB",
        half=362.05,
        float32=91.6,
        memory=48,
        bandwidth=864,
        source="NVIDIA L40S datasheet",
        price=(1.86, "AWS g6e.xlarge, on demand, June 2025"),
    ),
    _device(
        "rtx-3090",
        "NVIDIA GeForce RTX 3090, 24 GB",
        half=71,
        float32=35.6,
        memory=24,
        bandwidth=936,
        source=_AMPERE,
    ),
    _device(
        "rtx-4090",
        "NVIDIA GeForce RTX 4090, 24 GB",
        half=165.2,
        float32=82.6,
        memory=24,
        bandwidth=1008,
        source=_ADA,
    ),
    _device(
        "rtx-5090",
        "NVIDIA GeForce RTX 5090, 32 GB",
        half=209.5,
        float32=104.8,
        memory=32,
        bandwidth=1792,
        source=_BLACKWELL,
    ),
    _device(
        "t4",
        "NVIDIA T4, 16 GB",
        half=65,
        float32=8.1,
        memory=16,
        bandwidth=300,
        source="NVIDIA T4 datasheet",
        price=(0.53, "AWS g4dn.xlarge, on demand, June 2025"),
        kind="float16",
    ),
    _device(
        "v100",
        "NVIDIA V100 SXM2, 16 GB",
        half=125,
        float32=15.7,
        memory=16,
        bandwidth=900,
        source="NVIDIA V100 datasheet",
        price=(3.06, "AWS p3.2xlarge, on demand, June 2025"),
        kind="float16",
    ),
    *(
        _device(
            name,
            f"Apple {chip}, {memory} GB shared with the system",
            half=None,
            float32=peak,
            memory=memory,
            bandwidth=bandwidth,
            source=_APPLE,
        )
        for name, chip, peak, memory, bandwidth in (
            ("m1", "M1, 8 cores of GPU", 2.6, 16, 68),
            ("m1-pro", "M1 Pro, 16 cores of GPU", 5.2, 32, 200),
            ("m1-max", "M1 Max, 32 cores of GPU", 10.4, 64, 400),
            ("m1-ultra", "M1 Ultra, 64 cores of GPU", 21.0, 128, 800),
            ("m2", "M2, 10 cores of GPU", 3.6, 24, 100),
        )
    ),
)
"""Known by name; of Apple's later chips no peak is published: there, measure with `here`."""

HERE = "here"


def find_machine(name: str) -> MachineType:
    """The machine of that name; SettingError naming the nearest."""
    wanted = name.lower().replace("_", "-").replace(" ", "-")
    wanted = {"a100": "a100-80", "3090": "rtx-3090", "4090": "rtx-4090", "5090": "rtx-5090"}.get(
        wanted, wanted
    )
    found = {machine.name: machine for machine in MACHINES}
    if wanted not in found:
        raise SettingError(
            f"there is no machine {name!r} in the table: {nearest(wanted, (HERE, *found))}; here "
            "measures this one"
        )
    return found[wanted]


@dataclass(frozen=True)
class Utilisation:
    """The share of its machines' peak that a training reached."""

    name: str
    share: float
    source: str


PALM = "Chowdhery et al. 2022, table 3, https://arxiv.org/abs/2204.02311"
UTILISATIONS = (
    Utilisation("GPT-3 175B on V100", 0.213, PALM),
    Utilisation("MT-NLG 530B on A100", 0.302, PALM),
    Utilisation("Gopher 280B on TPU v3", 0.325, PALM),
    Utilisation(
        "Llama 2 7B on A100",
        0.39,
        "6 N D over 184,320 hours of 312 TFLOP/s: Touvron et al. 2023, table 2, "
        "https://arxiv.org/abs/2307.09288",
    ),
    Utilisation("Llama 3 405B on H100", 0.41, "Grattafiori et al. 2024, table 4: 38% to 43%"),
    Utilisation("PaLM 540B on TPU v4", 0.462, PALM),
)
"""What is published of large trainings; small models reach less."""
DEFAULT_UTILISATION = 0.4
"""Where nothing is measured: what the better ones of those published reach."""


@dataclass(frozen=True)
class PublishedTraining:
    """What a published training took."""

    name: str
    tokens: float
    device: str
    device_hours: float
    source: str


_LLAMA_2 = "Touvron et al. 2023, table 2, https://arxiv.org/abs/2307.09288"
TRAININGS = (
    PublishedTraining(
        "GPT-2 124M by nanoGPT",
        300e9,
        "A100",
        8 * 4 * 24,
        "its README: 8 A100 for about 4 days; https://github.com/karpathy/nanoGPT",
    ),
    PublishedTraining("Llama 2 7B", 2e12, "A100", 184_320, _LLAMA_2),
    PublishedTraining("Llama 2 13B", 2e12, "A100", 368_640, _LLAMA_2),
    PublishedTraining("Llama 2 70B", 2e12, "A100", 1_720_320, _LLAMA_2),
    PublishedTraining(
        "BLOOM 176B",
        366e9,
        "A100",
        1_082_990,
        "Luccioni et al. 2022, https://arxiv.org/abs/2211.02001",
    ),
    PublishedTraining("Llama 3.1 405B", 15.6e12, "H100", 30_840_000, "its model card, July 2024"),
    PublishedTraining(
        "DeepSeek-V3", 14.8e12, "H800", 2_788_000, "its report, https://arxiv.org/abs/2412.19437"
    ),
)
LLAMA_2_TOKENS = 2e12
EIGHT_DEVICES, DOLLARS_FOR_EIGHT = 8, 30.0
"""A round price of a machine with eight A100, at which Llama 2 7B comes to about $690,000."""
