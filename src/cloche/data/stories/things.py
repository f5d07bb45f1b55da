"""The things and animals of the stories, with their measure words and what can be done with them.

Tags: toy, wear, wind (light enough to be blown away), float, fix (can break and be mended),
fragile, gift, read, carry (one hand will do), tiny (fits a pocket), twin (two people may own one
each), paint (can be painted), music, lamp, find (found in nature), fruit (can be counted and
shared), snack, pet, bloom, tool.
"""

from cloche.data.stories import words as w
from cloche.data.stories.english import plural
from cloche.data.stories.world import Kind, Word


def _kind(
    english: str, chinese: str, measure: str, *, tags: str, colours: tuple[Word, ...] = w.ANY_COLOUR
) -> Kind:
    return Kind(
        english,
        chinese,
        measure,
        tags=frozenset(tags.split()),
        colours=colours,
        plural=plural(english),
    )


def _table(colours: tuple[Word, ...], rows: str) -> tuple[Kind, ...]:
    kinds = []
    for row in rows.strip().splitlines():
        english, chinese, measure, tags = (cell.strip() for cell in row.split("|"))
        kinds.append(_kind(english, chinese, measure, tags=tags, colours=colours))
    return tuple(kinds)


_COLOURED = _table(
    w.ANY_COLOUR,
    """
    ball | 皮球 | 个 | cuddle toy float gift carry share
    kite | 风筝 | 只 | toy wind fix gift carry
    doll | 洋娃娃 | 个 | cuddle toy fix gift carry share
    toy car | 玩具汽车 | 辆 | toy fix gift carry share
    toy train | 玩具火车 | 列 | toy fix gift carry share
    toy boat | 玩具船 | 只 | handmade toy float fix gift carry paint share
    drum | 鼓 | 面 | toy fix gift carry paint
    teddy bear | 玩具熊 | 只 | cuddle toy gift carry share
    robot | 机器人 | 个 | riddle toy fix gift carry share
    puppet | 木偶 | 个 | riddle handmade cuddle toy fix gift carry paint
    balloon | 气球 | 个 | toy wind gift carry
    paper plane | 纸飞机 | 架 | toy wind carry
    scooter | 滑板车 | 辆 | toy fix
    bicycle | 自行车 | 辆 | fix ride
    tricycle | 三轮车 | 辆 | fix ride
    mountain bike | 山地车 | 辆 | fix ride
    sled | 雪橇 | 架 | handmade toy fix paint
    whistle | 哨子 | 个 | riddle toy tiny carry gift
    marble | 弹珠 | 颗 | riddle toy tiny carry
    spinning top | 陀螺 | 个 | riddle toy tiny carry gift
    hat | 帽子 | 顶 | headwear winter wear wind float gift carry twin
    cap | 鸭舌帽 | 顶 | headwear winter wear wind float gift carry twin
    straw hat | 草帽 | 顶 | headwear winter wear wind
    helmet | 头盔 | 顶 | headwear
    paper crown | 纸王冠 | 顶 | headwear wind
    scarf | 围巾 | 条 | wear wind gift carry twin
    coat | 外套 | 件 | wear twin
    sweater | 毛衣 | 件 | wear gift twin
    raincoat | 雨衣 | 件 | wear twin
    ribbon | 丝带 | 条 | wear wind tiny carry gift
    mitten | 手套 | 只 | wear carry
    backpack | 书包 | 个 | carry twin gift
    lunch box | 饭盒 | 个 | carry twin
    umbrella | 雨伞 | 把 | wind fix carry twin gift
    basket | 篮子 | 个 | winter float fix carry twin load
    cup | 杯子 | 个 | treasure fragile gift carry twin
    bowl | 碗 | 个 | fragile
    plate | 盘子 | 个 | fragile
    vase | 花瓶 | 个 | fragile gift
    teapot | 茶壶 | 把 | fragile
    jar | 罐子 | 个 | fragile
    lamp | 台灯 | 盏 | fragile fix gift
    lantern | 灯笼 | 盏 | lamp carry gift
    flashlight | 手电筒 | 个 | riddle lamp fix carry gift
    notebook | 笔记本 | 本 | carry twin gift
    pencil | 铅笔 | 支 | carry tiny twin
    pen | 钢笔 | 支 | carry tiny twin gift
    paintbrush | 画笔 | 支 | carry gift
    blanket | 毯子 | 条 | soft gift
    pillow | 枕头 | 个 | soft
    chair | 椅子 | 把 | handmade fix paint
    stool | 凳子 | 个 | handmade fix paint
    bag | 袋子 | 个 | load
    box | 箱子 | 个 | treasure paint twin load
    bucket | 水桶 | 个 | winter float carry paint twin load
    birdhouse | 鸟屋 | 个 | handmade fix paint gift
    flowerpot | 花盆 | 个 | fragile paint
    flag | 旗子 | 面 | wind carry
    button | 纽扣 | 颗 | tiny carry
    purse | 钱包 | 个 | tiny carry owned
    clock | 时钟 | 个 | fix
    comb | 梳子 | 把 | riddle tiny carry gift
    bracelet | 手链 | 条 | riddle tiny carry gift owned
    """,
)
_METAL = _table(
    (w.SILVER, w.GOLDEN, w.BLACK),
    """
    key | 钥匙 | 把 | treasure tiny carry owned
    bell | 铃铛 | 个 | riddle treasure tiny carry gift
    watch | 手表 | 块 | treasure fix tiny carry gift owned
    ring | 戒指 | 枚 | treasure tiny carry owned
    camera | 照相机 | 台 | riddle fix carry gift
    compass | 指南针 | 个 | treasure tiny carry gift
    necklace | 项链 | 条 | treasure tiny carry gift owned
    """,
)
_WOODEN = _table(
    (w.BROWN, w.RED, w.BLACK, w.BLUE),
    """
    guitar | 吉他 | 把 | music fix
    violin | 小提琴 | 把 | music fix
    flute | 笛子 | 支 | riddle music carry
    trumpet | 小号 | 把 | music
    recorder | 竖笛 | 支 | music carry
    accordion | 手风琴 | 架 | music fix
    harp | 竖琴 | 架 | music
    """,
)
_READING = _table(
    (w.RED, w.BLUE, w.GREEN, w.YELLOW, w.BROWN),
    """
    book | 书 | 本 | read carry gift
    picture book | 图画书 | 本 | read carry gift
    storybook | 故事书 | 本 | read carry gift
    song book | 歌曲集 | 本 | read carry
    cookbook | 菜谱 | 本 | read carry
    comic book | 漫画书 | 本 | read carry gift
    """,
)
_NATURE = _table(
    (w.WHITE, w.GRAY, w.PINK, w.BROWN),
    """
    shell | 贝壳 | 个 | riddle find shore tiny carry
    stone | 石头 | 块 | find shore wood tiny carry
    feather | 羽毛 | 根 | find shore wood wind tiny carry
    """,
)
_LEAVES = _table((w.RED, w.YELLOW, w.GREEN), "leaf | 叶子 | 片 | find wood wind tiny carry")
_PETS = _table(
    (w.WHITE, w.BLACK, w.BROWN, w.GRAY),
    """
    dog | 狗 | 只 | pet
    puppy | 小狗 | 只 | pet
    cat | 猫 | 只 | pet climb
    kitten | 小猫 | 只 | pet climb
    rabbit | 兔子 | 只 | pet
    hamster | 仓鼠 | 只 | pet
    """,
)
_FARM = _table(
    (w.WHITE, w.BLACK, w.BROWN),
    """
    goat | 山羊 | 只 | farm
    lamb | 小羊 | 只 | farm
    hen | 母鸡 | 只 | farm
    duck | 鸭子 | 只 | farm
    calf | 小牛 | 头 | farm
    pony | 小马 | 匹 | farm
    """,
)
_FLOWERS = _table(
    (w.RED, w.YELLOW, w.PINK, w.WHITE, w.PURPLE),
    """
    rose | 玫瑰 | 朵 | bloom
    tulip | 郁金香 | 朵 | bloom
    daisy | 雏菊 | 朵 | bloom
    lily | 百合花 | 朵 | bloom
    """,
)
_FOODS = _table(
    (),
    """
    apple | 苹果 | 个 | fruit
    pear | 梨 | 个 | fruit
    orange | 橙子 | 个 | fruit
    peach | 桃子 | 个 | fruit
    plum | 李子 | 个 | fruit
    banana | 香蕉 | 根 | fruit
    lemon | 柠檬 | 个 | fruit
    cookie | 饼干 | 块 | snack baked
    sandwich | 三明治 | 个 | snack
    muffin | 松饼 | 个 | snack baked
    dumpling | 饺子 | 个 | snack
    cupcake | 纸杯蛋糕 | 个 | snack baked
    pie | 馅饼 | 个 | snack baked
    egg | 鸡蛋 | 个 | snack cook
    pumpkin | 南瓜 | 个 | grown
    watermelon | 西瓜 | 个 | grown
    carrot | 胡萝卜 | 根 | grown
    cabbage | 卷心菜 | 棵 | grown
    turnip | 萝卜 | 个 | grown
    """,
)
_PAPERS = _table(
    (),
    """
    letter | 信 | 封 | wind carry paper
    map | 地图 | 张 | wind carry paper
    photo | 照片 | 张 | wind carry paper tiny
    postcard | 明信片 | 张 | wind carry paper tiny
    puzzle | 拼图 | 幅 | toy gift
    coin | 硬币 | 枚 | tiny carry coin
    """,
)
_TOOLS = _table(
    (),
    """
    hammer | 锤子 | 把 | tool
    ladder | 梯子 | 架 | tool ladder
    rope | 绳子 | 根 | tool
    shovel | 铲子 | 把 | tool
    broom | 扫帚 | 把 | tool
    """,
)
KINDS = (
    *_COLOURED,
    *_METAL,
    *_WOODEN,
    *_READING,
    *_NATURE,
    *_LEAVES,
    *_PETS,
    *_FARM,
    *_FLOWERS,
    *_FOODS,
    *_PAPERS,
    *_TOOLS,
)


def kinds_tagged(tag: str) -> tuple[Kind, ...]:
    """The kinds of thing that carry the tag."""
    return tuple(kind for kind in KINDS if tag in kind.tags)


def sizes_of(kind: Kind) -> tuple[Word, ...]:
    """The sizes and ages that can be said of the kind; none where they sound wrong."""
    if kind.tags & {"bloom", "paper", "coin"} or kind.chinese.startswith("小"):
        return ()
    if kind.tags & {"pet", "farm"}:
        return (w.LITTLE, w.BIG)
    if kind.tags & {"fruit", "snack", "grown"}:
        return (w.BIG, w.SMALL)
    if "find" in kind.tags:
        return (w.SMALL, w.LITTLE)
    if "tiny" in kind.tags:
        return (w.SMALL, w.OLD, w.NEW, w.LITTLE)
    return (w.SMALL, w.BIG, w.OLD, w.NEW)
