# /// lesson
# part = "world"
# order = 170
# minutes = 8
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% loop
import time

import torch

torch.manual_seed(1)
left, right = torch.randn(2, 64, 64)


def multiply(left, right):
    rows, columns = left.tolist(), right.T.tolist()
    pairs = [[zip(row, column, strict=True) for column in columns] for row in rows]
    return [[sum(a * b for a, b in pair) for pair in row] for row in pairs]


assert torch.allclose(torch.tensor(multiply(left, right)), left @ right, atol=1e-3)

# %% clock
threads = torch.get_num_threads()
torch.set_num_threads(1)  # one core: then its clock tells all there is to tell


def seconds(work, times):
    work()  # the first call pays for memory
    began = time.thread_time()  # stands still while others use the core
    for _ in range(times):
        work()
    return max(time.thread_time() - began, 1e-6) / times


by_loop = seconds(lambda: multiply(left, right), 3)
by_torch = seconds(lambda: left @ right, 5000)
print(f"{by_loop:.7f} {by_torch:.7f} {by_loop / by_torch:.0f}")
stage.keep(faster=by_loop / by_torch)

# %% peak
big, other = torch.randn(2, 1024, 1024)
peak = 2 * 1024**3 / seconds(lambda: big @ other, 8)
print(f"{peak / 1e9:.1f}")
stage.keep(peak=peak / 1e9)

# %% measured
from cloche.training.machine import measure_machine

machine = measure_machine("cpu", "float32")  # as before each training
print(f"{machine.flops_per_second / 1e9:.1f}")

# %% memory
from cloche.bench.generating_bandwidth import ways_to_read

bandwidth = 0.0
for name, (read, size) in ways_to_read(256 * 2**20, "cpu").items():
    speed = size / seconds(read, 3)
    bandwidth = max(bandwidth, speed)
    print(f"{name:24} {speed / 1e9:.1f}")
balance = peak / bandwidth  # operations while one byte arrives
stage.keep(bandwidth=bandwidth / 1e9, balance=balance, number=4 * balance)

# %% intensity
weights = torch.randn(2048, 2048)
rows, reached = [1, 4, 16, 64, 256], []
for count in rows:
    vectors = torch.randn(count, 2048)
    took = seconds(lambda vectors=vectors: vectors @ weights, max(2, 32 // count))
    reached.append(2 * count * 2048 * 2048 / took / peak)
    print(f"{count:4} {took * 1e3:8.3f} {reached[-1]:6.1%}")
stage.keep(single=100 * reached[0], many=100 * reached[-1])

# %% reached folded
from cloche.lessons.charts import Curves, Series

stage.show(
    Curves(
        rows,
        [Series({"en": "of the peak", "zh": "峰值的比例"}, reached)],
        x={"en": "rows that share the weights", "zh": "共用权重的行数"},
        y={"en": "share of the peak", "zh": "达到峰值的比例"},
        log_x=True,
    ),
    {"en": "Few rows wait for the memory", "zh": "行数少，就只能等内存"},
)

# %% config
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.planning.flops import flops_per_token, matrix_parameters

config = complete(
    ModelOptions(family="llama", heads=4),
    vocab_size=2000,
    layers=4,
    width=256,
    context=128,
)
operations = flops_per_token(config)
print(matrix_parameters(config), operations)
stage.keep(operations=operations / 1e6, six=operations / matrix_parameters(config))

# %% training
model = Decoder(config)
ids = torch.randint(2000, (4, 129))


def step():
    logits = model(ids[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()


took = seconds(step, 3)
used = 4 * 128 * operations / took / peak
print(f"{4 * 128 / took:.0f} {used:.1%}")
stage.keep(trained=4 * 128 / took, most=peak / operations, used=100 * used)

# %% parts
from cloche.model.attention_inputs import self_attention_inputs
from cloche.model.decoder import Block

hidden, block = torch.randn(4, 128, 256), Block(config, layer=0)
logits, wanted = torch.randn(512, 2000), ids[:, 1:].flatten()
with torch.no_grad():
    shared = self_attention_inputs(hidden)
    spent = {
        "attention": 4 * seconds(lambda: block.self_attn(hidden, shared), 8),
        "MLP": 4 * seconds(lambda: block.mlp(hidden), 8),
        "head": seconds(lambda: model.head(hidden), 8),
        "norms": 9 * seconds(lambda: block.input_layernorm(hidden), 8),
        "loss": seconds(lambda: torch.nn.functional.cross_entropy(logits, wanted), 8),
    }

# %% spent folded
from cloche.lessons.charts import Bars
from cloche.planning.parameters import parameters_by_part

counts = parameters_by_part(config)
needed = {
    "attention": 4 * 128 * (2 * counts["attention"] + 4 * 4 * 128 * 256),
    "MLP": 4 * 128 * 2 * counts["MLP"],
    "head": 4 * 128 * 2 * 2000 * 256,
    "norms": 0,
    "loss": 0,
}
stage.show(
    Bars(
        [
            {"en": "attention", "zh": "注意力"},
            "MLP",
            {"en": "head", "zh": "输出层"},
            {"en": "norms", "zh": "归一化"},
            {"en": "loss", "zh": "损失"},
        ],
        [
            Series(
                {"en": "time", "zh": "时间"},
                [100 * each / sum(spent.values()) for each in spent.values()],
            ),
            Series(
                {"en": "operations in products", "zh": "乘法运算"},
                [100 * each / sum(needed.values()) for each in needed.values()],
            ),
        ],
        y={"en": "share (%)", "zh": "占比（%）"},
    ),
    {"en": "Where a forward pass goes", "zh": "前向一次，时间花在哪里"},
)
little = (spent["norms"] + spent["loss"]) / sum(spent.values())
stage.keep(little=100 * little)

# %% writing
from cloche.bench.generating_weights import bytes_read_per_token

large = complete(
    ModelOptions(family="llama", heads=8),
    vocab_size=2000,
    layers=6,
    width=1024,
    context=128,
)
writer = Decoder(large).eval()
read = bytes_read_per_token(writer)
print(read, f"{bandwidth / read:.1f}")
stage.keep(read=read / 1e6, ceiling=bandwidth / read)

# %% batched
speeds = {}
with torch.no_grad():
    for count in (1, 2, 4, 8, 16):
        asked = torch.randint(2000, (count, 1))  # one new token for each text
        speeds[count] = count / seconds(lambda asked=asked: writer(asked), 3)
        print(f"{count:3} {speeds[count]:8.1f}")
torch.set_num_threads(threads)
stage.keep(alone=speeds[1], together=speeds[16], gain=speeds[16] / speeds[1])

# %% written folded
stage.show(
    Curves(
        list(speeds),
        [
            Series({"en": "measured", "zh": "实测"}, list(speeds.values())),
            Series(
                {"en": "one text alone, at most", "zh": "单独一篇的上限"},
                [bandwidth / read] * len(speeds),
            ),
        ],
        x={"en": "texts written at once", "zh": "同时写的文字篇数"},
        y={"en": "tokens a second, all together", "zh": "每秒词元数（合计）"},
    ),
    {"en": "Writing several texts at once", "zh": "同时写几篇文字"},
)
