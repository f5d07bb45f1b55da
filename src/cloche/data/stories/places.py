"""Where stories happen, and the spots there where things get lost, hidden and found.

Tags: outdoor, indoor, home, visit (one goes there and comes back), shop, water, wood, shore, farm,
class.
"""

from cloche.data.stories.world import Place, Word


def _places(rows: str) -> tuple[Place, ...]:
    places = []
    for row in rows.strip().splitlines():
        preposition, english, chinese, inside, spots, tags = (c.strip() for c in row.split("|"))
        place = Place(
            english,
            chinese,
            preposition=preposition,
            inside=inside,
            spots=spots,
            tags=frozenset(tags.split()),
        )
        places.append(place)
    return tuple(places)


PLACES = _places(
    """
    in | park | 公园 | 公园里 | green | outdoor visit open
    in | garden | 花园 | 花园里 | green | outdoor home grow
    in | forest | 森林 | 森林里 | green | outdoor visit wood
    in | meadow | 草地 | 草地上 | green | outdoor visit open wood
    in | orchard | 果园 | 果园里 | green | outdoor visit farm grow
    in | yard | 院子 | 院子里 | green | outdoor home open grow
    on | hill | 小山上 | 小山上 | green | outdoor visit open wood
    at | farm | 农场 | 农场里 | green | outdoor visit farm grow
    in | field | 田野 | 田野上 | green | outdoor visit open farm grow
    at | campsite | 露营地 | 露营地里 | green | outdoor visit wood
    at | beach | 海边 | 海边 | water | outdoor visit water shore open crowd
    by | river | 河边 | 河边 | water | outdoor visit water shore
    by | lake | 湖边 | 湖边 | water | outdoor visit water shore
    by | pond | 池塘边 | 池塘边 | water | outdoor visit water
    at | harbour | 港口 | 港口 | water | outdoor visit water
    on | playground | 操场 | 操场上 | paved | outdoor visit open class
    in | village square | 村里的广场 | 村里的广场上 | paved | outdoor visit open crowd
    at | zoo | 动物园 | 动物园里 | paved | outdoor visit crowd
    at | bus stop | 公共汽车站 | 公共汽车站 | paved | outdoor visit station
    at | station | 车站 | 车站 | paved | outdoor visit station crowd
    in | school garden | 学校的花园 | 学校的花园里 | green | outdoor visit class grow music
    in | library | 图书馆 | 图书馆里 | room | indoor visit books
    in | museum | 博物馆 | 博物馆里 | room | indoor visit
    in | classroom | 教室 | 教室里 | room | indoor class books music
    in | music room | 音乐教室 | 音乐教室里 | room | indoor class music
    at | market | 集市 | 集市上 | paved | outdoor visit shop crowd
    in | toy shop | 玩具店 | 玩具店里 | room | indoor visit shop
    in | gift shop | 礼品店 | 礼品店里 | room | indoor visit shop
    in | bakery | 面包店 | 面包店里 | room | indoor visit kitchen
    in | kitchen | 厨房 | 厨房里 | room | indoor home kitchen
    in | living room | 客厅 | 客厅里 | room | indoor home house books
    in | bedroom | 卧室 | 卧室里 | room | indoor home house
    in | attic | 阁楼 | 阁楼上 | room | indoor home house dark
    in | cellar | 地下室 | 地下室里 | room | indoor home dark
    in | garage | 车库 | 车库里 | room | indoor home work
    in | workshop | 工作间 | 工作间里 | room | indoor home work
    in | barn | 谷仓 | 谷仓里 | shed | indoor visit dark farm
    in | tree house | 树屋 | 树屋里 | room | indoor visit
    in | greenhouse | 温室 | 温室里 | shed | indoor visit grow
    """
)


def _spots(rows: str) -> tuple[Word, ...]:
    return tuple(
        Word(*(cell.strip() for cell in row.split("|"))) for row in rows.strip().split("\n")
    )


SPOTS = {
    "room": _spots(
        """under the table | 桌子底下
        behind the door | 门后面
        on the top shelf | 最高的架子上
        behind the curtain | 窗帘后面
        under a chair | 一把椅子下面
        in the cupboard | 柜子里
        next to the window | 窗户旁边
        in the corner | 角落里
        behind a pile of newspapers | 一堆报纸后面
        under the stairs | 楼梯下面"""
    ),
    "shed": _spots(
        """behind a sack | 一个麻袋后面
        behind a barrel | 木桶后面
        under the workbench | 工作台下面
        beside the door | 门旁边
        in a wooden tub | 木盆里
        behind the wheelbarrow | 手推车后面"""
    ),
    "green": _spots(
        """under a bush | 灌木丛下面
        behind the big tree | 大树后面
        in the tall grass | 高高的草丛里
        behind the fence | 篱笆后面
        beside a big rock | 一块大石头旁边
        under a bench | 长椅下面
        in a hollow tree | 一个树洞里
        between two tree roots | 两条树根中间
        under a heap of leaves | 一堆落叶下面"""
    ),
    "water": _spots(
        """behind a big rock | 一块大石头后面
        under an old boat | 一条旧船下面
        beside the path | 小路旁边
        in the reeds | 芦苇丛里
        under the wooden steps | 木台阶下面
        between two rocks | 两块石头中间
        under a bench | 长椅下面"""
    ),
    "paved": _spots(
        """under a bench | 长椅下面
        behind the fence | 栅栏后面
        near the gate | 大门旁边
        beside the stone steps | 石阶旁边
        behind a flower bed | 花坛后面
        next to the fountain | 喷泉旁边
        at the foot of a wall | 墙脚下"""
    ),
}
TOWER_TOP = Word("on the highest tower", "最高的塔楼上")
SNOWMANS_HEAD = Word("on the snowman's head", "雪人头上")
ALL_SPOTS = (*dict.fromkeys(w for spots in SPOTS.values() for w in spots), TOWER_TOP, SNOWMANS_HEAD)
"""Where things may lie, those that only one plot knows included."""


def places_tagged(tag: str) -> tuple[Place, ...]:
    """The places that carry the tag."""
    return tuple(place for place in PLACES if tag in place.tags)
