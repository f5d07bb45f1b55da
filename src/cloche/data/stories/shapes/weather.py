"""Plots of weather and of being on the way."""

from cloche.data.stories.places import SNOWMANS_HEAD
from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import FAMILY, NEIGHBOURS
from cloche.data.stories.world import Word

_WINTER_WEATHERS = (Word("cold", "寒冷"), Word("clear", "晴朗"), Word("quiet", "安静"))
_WINTER_TIMES = (Word("winter day", "冬日"), Word("winter morning", "冬天的早晨"))
_HOT = Word("hot", "炎热")
_SUMMER_TIMES = (Word("summer day", "夏日"), Word("summer afternoon", "夏天的下午"))


def _rained_off(tale: Tale) -> None:
    tale.begin_together()
    tale.own("hero", "thing")
    tale.tell(
        ("They wanted to have a picnic.", "{both.he}想在那里野餐。"),
        ("They had planned this day for a long time.", "这一天{both.he}盼了很久。"),
        ("{hero} spread a cloth on the ground.", "{hero}在地上铺开了一块布。"),
    )
    tale.paragraph()
    tale.tell(
        ("But dark clouds came, and it began to rain.", "可是乌云来了，下起了雨。"),
        (
            "Then the first drops fell, and soon it was pouring.",
            "接着掉下几滴雨点，很快就下起了大雨。",
        ),
        ("Thunder rolled, and rain came down in sheets.", "雷声隆隆，大雨哗哗地下了起来。"),
    )
    tale.feel("both", "disappointed", "sad")
    tale.tell(
        ('"Quick, to my house!" cried {friend}.', "“快，去我家！”{friend}喊道。"),
        ('"Let us run to my home," said {friend}.', "“我们跑去我家吧。”{friend}说。"),
    )
    tale.tell(
        (
            "They ran through the puddles and arrived wet to the skin.",
            "{both.he}踩着水坑跑，到家时全身都湿透了。",
        ),
        ("They arrived soaking wet but laughing.", "到家时，{both.he}浑身湿透了，却笑个不停。"),
    )
    tale.paragraph()
    tale.tell(
        ("They ate their sandwiches on the carpet.", "{both.he}坐在地毯上吃三明治。"),
        (
            "They built a tent from two chairs and a sheet.",
            "{both.he}用两把椅子和一条床单搭了一个帐篷。",
        ),
        ("They drank hot chocolate and told ghost stories.", "{both.he}喝着热巧克力，讲鬼故事。"),
    )
    tale.give(
        "hero",
        "thing",
        "friend",
        (
            "{hero} let {friend} keep {thing.full} as a thank-you.",
            "{hero}把{thing.full}送给{friend}，表示感谢。",
        ),
        (
            "Before leaving, {hero} gave {thing.full} to {friend}.",
            "走之前，{hero}把{thing.full}送给了{friend}。",
        ),
    )
    tale.feel("both", "happy", "glad")


def _snowman(tale: Tale) -> None:
    tale.cast("weather", tale.dice.pick(_WINTER_WEATHERS))
    tale.cast("time", tale.dice.pick(_WINTER_TIMES))
    tale.open_together()
    tale.own("hero", "thing")
    tale.cast("spot", SNOWMANS_HEAD)
    tale.tell(
        ("During the night it had snowed, and all was white.", "夜里下了雪，到处一片雪白。"),
        ("Thick snow covered the ground.", "地上盖着厚厚的雪。"),
    )
    tale.paragraph()
    tale.tell(
        ('"Let us build a snowman!" said {friend}.', "“我们堆个雪人吧！”{friend}说。"),
        ('"Shall we make a snowman?" asked {friend}.', "“我们堆个雪人好不好？”{friend}问。"),
    )
    tale.tell(
        ("They rolled three big balls of snow.", "{both.he}滚了三个大雪球。"),
        ("{hero} made the body and {friend} made the head.", "{hero}做身体，{friend}做头。"),
    )
    tale.tell(
        ("A carrot became the nose.", "一根胡萝卜当鼻子。"),
        ("Two pieces of coal became the eyes.", "两块煤当眼睛。"),
    )
    tale.tell(
        ('"It looks cold," said {friend}.', "“它看起来很冷。”{friend}说。"),
        ('"Something is still missing," said {friend}.', "“还缺点什么。”{friend}说。"),
    )
    tale.put(
        "hero",
        "thing",
        "spot",
        ("So {hero} put {thing.full} {spot}.", "于是，{hero}把{thing.full}放在了{spot}。"),
        (
            "{hero} took {thing.full} and placed it {spot}.",
            "{hero}拿出{thing.full}，放到了{spot}。",
        ),
    )
    tale.feel("both", "happy", "proud", "excited")
    tale.maybe(
        0.6,
        ("Everyone who passed had to smile.", "路过的人看了都忍不住笑。"),
        (
            "Then their fingers were so cold that they went home.",
            "后来，{both.he}手指冻得冰凉，就回家了。",
        ),
    )


def _dark_way(tale: Tale) -> None:
    tale.begin_together()
    tale.own("hero", "thing")
    tale.tell(
        ("They stayed too long, and night fell.", "{both.he}待得太久，天黑了。"),
        ("Before they noticed, it was dark.", "不知不觉，天已经黑了。"),
    )
    tale.tell(
        ("There was no moon and there were no stars.", "没有月亮，也没有星星。"),
        ("They could not see the path any more.", "{both.he}再也看不清路了。"),
        ("An owl hooted in the distance.", "远处有一只猫头鹰在叫。"),
    )
    tale.feel("friend", "afraid", "nervous")
    tale.paragraph()
    tale.tell(
        (
            '"Do not worry," said {hero}. "I have {thing.one}."',
            "“别担心，”{hero}说，“我有{thing.one}。”",
        ),
        ('"Hold my hand," said {hero}.', "“拉着我的手。”{hero}说。"),
    )
    tale.tell(
        (
            "{hero} held up {thing.full}, and the path lay before them.",
            "{hero}举起{thing.full}，小路出现在眼前。",
        ),
        ("The light of {thing.full} was small but steady.", "{thing.bare}的光虽然小，却很稳。"),
    )
    tale.tell(
        (
            "They passed a mill and crossed a narrow bridge.",
            "{both.he}经过一座磨坊，又走过一座窄窄的桥。",
        ),
        ("Step by step they walked on, singing loudly.", "{both.he}大声唱着歌，一步一步往前走。"),
    )
    tale.tell(
        ("At last they saw the lights of the town.", "终于，{both.he}看见了镇上的灯火。"),
        ("After half an hour they were home.", "半个小时以后，{both.he}到家了。"),
    )
    tale.give(
        "hero",
        "thing",
        "friend",
        (
            '"Take it, you have farther to go," said {hero} and gave {thing.full} to {friend}.',
            "“拿着吧，你还要走得更远。”{hero}说着，把{thing.full}给了{friend}。",
        ),
        (
            "{friend} had farther to go, so {hero} gave {friend.him} {thing.full}.",
            "{friend}还要走得更远，所以{hero}把{thing.full}给了{friend.him}。",
        ),
    )
    tale.feel("friend", "relieved", "thankful", "calm")


def _missed_bus(tale: Tale) -> None:
    tale.add_adult(FAMILY)
    tale.begin()
    tale.own("hero", "thing")
    tale.tell(
        ("{hero} was on the way to visit {adult}.", "{hero}正要去看{adult}。"),
        ("{adult} was expecting {hero} for dinner.", "{adult}在等{hero}去吃晚饭。"),
    )
    tale.tell(
        ("But the last bus had just left.", "可是最后一班公共汽车刚刚开走。"),
        (
            "But {hero} came one minute late, and the bus was gone.",
            "可是{hero}晚了一分钟，公共汽车已经走了。",
        ),
    )
    tale.feel("hero", "disappointed", "worried")
    tale.paragraph()
    tale.tell(
        ('"Then I will walk," said {hero}.', "“那我就走路去。”{hero}说。"),
        ('"I still have two legs," said {hero}.', "“我还有两条腿呢。”{hero}说。"),
    )
    tale.tell(
        ("{hero} walked past farms, wells and windmills.", "{hero}走过了农场、水井和风车。"),
        ("The road went up a hill and down again.", "路先上山，又下山。"),
    )
    tale.tell(
        ("On the way {hero} saw a family of deer.", "路上，{hero}看见了鹿一家。"),
        ("On the way {hero} picked some wild berries.", "路上，{hero}采了一些野果。"),
        ("Above the road a rainbow appeared.", "路的上空出现了一道彩虹。"),
    )
    tale.tell(
        (
            '"From the bus I would never have seen this," thought {hero}.',
            "“坐车可看不到这些。”{hero}心想。",
        ),
        ("{hero} was almost glad about the bus.", "{hero}几乎庆幸没赶上车。"),
    )
    tale.paragraph()
    tale.tell(
        ("{adult} stood at the door and waved.", "{adult}站在门口挥手。"),
        ("In the evening {hero} knocked at {adult}'s door.", "傍晚，{hero}敲响了{adult}家的门。"),
    )
    tale.give("hero", "thing", "adult")
    tale.feel("adult", "happy", "surprised", "relieved")
    tale.feel("hero", "tired", "proud", "happy")


def _hot_day(tale: Tale) -> None:
    tale.cast("weather", _HOT)
    tale.cast("time", tale.dice.pick(_SUMMER_TIMES))
    tale.begin()
    kind = tale.plan.kind
    tale.tell(
        ("It was so hot that nobody wanted to move.", "天气热得谁也不想动。"),
        ("The sun burned, and everyone was thirsty.", "太阳火辣辣的，人人都口渴。"),
    )
    total = tale.dice.number(5, 10)
    sold = tale.dice.number(2, total - 2)
    tale.have(
        "hero",
        kind,
        total,
        ("{hero} had {amount} and an idea.", "{hero}有{amount}，还有一个主意。"),
        ("{hero} fetched {amount} from home.", "{hero}从家里拿来了{amount}。"),
    )
    tale.tell(
        ("{hero} set up a little table and sold fruit.", "{hero}摆了一张小桌子，卖起了水果。"),
        ('"Fresh fruit! Sweet and cool!" called {hero}.', "“新鲜的水果！又甜又凉！”{hero}喊道。"),
    )
    tale.paragraph()
    tale.add_adult(NEIGHBOURS)
    tale.tell(
        ("{adult} came by, wiping {adult.his} face.", "{adult}擦着汗走了过来。"),
        ('"You are saving my life," said {adult}.', "“你真是救了我的命。”{adult}说。"),
    )
    tale.have(
        "adult",
        kind,
        sold,
        ("{adult} bought {amount}.", "{adult}买了{amount}。"),
        ("{hero} sold {amount} to {adult}.", "{hero}卖给{adult}{amount}。"),
    )
    tale.have(
        "hero",
        kind,
        total - sold,
        ("Then {hero} had {amount} left.", "这时，{hero}还剩{amount}。"),
        ("So {hero} kept {amount}.", "于是，{hero}还留着{amount}。"),
    )
    tale.tell(
        ("{hero} put the money into a jar.", "{hero}把钱放进了一个罐子里。"),
        (
            '"What will you do with the money?" asked {adult}.',
            "“你要用这些钱做什么呢？”{adult}问。",
        ),
        ("{hero} counted the money twice.", "{hero}把钱数了两遍。"),
    )
    tale.feel("hero", "proud", "happy")


def _treasure_map(tale: Tale) -> None:
    tale.begin_together()
    tale.add_spot()
    tale.lay("thing", "spot")
    tale.tell(
        ("{hero} had found an old map in a bottle.", "{hero}在瓶子里发现了一张旧地图。"),
        (
            "{hero} unfolded a yellow map with a cross on it.",
            "{hero}打开了一张发黄的地图，上面画着一个叉。",
        ),
    )
    tale.tell(
        ('"Twenty steps from here," read {friend}.', "“从这里走二十步。”{friend}念道。"),
        ('"This must be the place," said {friend}.', "“一定就是这个地方。”{friend}说。"),
    )
    tale.feel("both", "excited", "nervous")
    tale.paragraph()
    tale.tell(
        ("They counted every step aloud.", "{both.he}大声数着每一步。"),
        ("They measured the way with a rope.", "{both.he}用绳子量着距离。"),
    )
    tale.tell(
        ("The first try was wrong.", "第一次找错了地方。"),
        ("First they found only an empty tin.", "一开始，{both.he}只找到一个空罐头。"),
    )
    tale.find(
        "friend",
        "thing",
        "spot",
        (
            "Then {friend} discovered {thing.full} {spot}.",
            "后来，{friend}在{spot}发现了{thing.full}。",
        ),
        (
            "But {spot}, {friend} came upon {thing.full}.",
            "不过，{friend}在{spot}找到了{thing.full}。",
        ),
    )
    tale.tell(
        ('"A real treasure!" they shouted.', "“真正的宝藏！”{both.he}喊道。"),
        ("It was dusty, but it shone when they rubbed it.", "它沾满了灰，可是一擦就闪闪发亮。"),
    )
    tale.give(
        "friend",
        "thing",
        "hero",
        (
            '"It was your map," said {friend} and gave {thing.full} to {hero}.',
            "“地图是你的。”{friend}说着，把{thing.full}给了{hero}。",
        ),
        (
            "Because the map was {hero}'s, {friend} gave {hero.him} {thing.full}.",
            "因为地图是{hero}的，{friend}把{thing.full}给了{hero.him}。",
        ),
    )
    tale.feel("hero", "happy", "thankful", "proud")


def _lost_child(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.add_child()
    tale.paragraph()
    tale.tell(
        ("There {hero} noticed {friend}, who was crying.", "在那里，{hero}看见{friend}正在哭。"),
        ("Suddenly {hero} heard {friend} crying.", "忽然，{hero}听见{friend}在哭。"),
    )
    tale.tell(
        ('"I cannot find my mother," said {friend}.', "“我找不到妈妈了。”{friend}说。"),
        ('"I have lost my mother," said {friend}.', "“我和妈妈走散了。”{friend}说。"),
    )
    tale.feel("friend", "afraid", "sad")
    tale.give(
        "hero",
        "thing",
        "friend",
        (
            "To comfort {friend}, {hero} gave {friend.him} {thing.full}.",
            "为了安慰{friend}，{hero}把{thing.full}给了{friend.him}。",
        ),
        ("{hero} gave {thing.full} to {friend} to hold.", "{hero}把{thing.full}给{friend}抱着。"),
    )
    tale.paragraph()
    tale.tell(
        ('"We will find her together," said {hero}.', "“我们一起去找她。”{hero}说。"),
        ('"What does she look like?" asked {hero}.', "“她长什么样子？”{hero}问。"),
    )
    tale.tell(
        ("They asked a policeman, who knew what to do.", "{both.he}去问警察，警察知道该怎么办。"),
        ("They walked from one corner to the next.", "{both.he}走过一个又一个角落。"),
    )
    tale.tell(
        ("Then a woman came running with open arms.", "这时，一位女士张开双臂跑了过来。"),
        ('"My dear child!" a woman cried.', "“我亲爱的孩子！”一位女士喊道。"),
    )
    tale.tell(
        (
            '"You may keep it," said {hero} and waved goodbye.',
            "“它送给你了。”{hero}说着，挥手告别。",
        ),
        ("{hero} let {friend} keep it.", "{hero}让{friend}把它留下了。"),
    )
    tale.feel("friend", "relieved", "happy")


SHAPES = (
    Shape("rained off", _rained_off, "gift", "open"),
    Shape("the snowman", _snowman, "winter", "open"),
    Shape("the way home in the dark", _dark_way, "lamp", "wood"),
    Shape("a missed bus", _missed_bus, "gift", "station"),
    Shape("fruit for sale", _hot_day, "fruit", "open"),
    Shape("the treasure map", _treasure_map, "treasure", "shore"),
    Shape("the lost child", _lost_child, "cuddle", "crowd", held_out=True),
)
