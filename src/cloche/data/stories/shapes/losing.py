"""Plots of losing, searching and finding."""

from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import FAMILY, NEIGHBOURS


def _lost_and_found(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.add_spot()
    tale.paragraph()
    tale.tell(
        ("{hero} stayed there for a long time.", "{hero}在那里待了很久。"),
        ("Time passed quickly.", "时间过得很快。"),
        ("There was so much to see and to do.", "那里有好多可看可玩的东西。"),
    )
    tale.lose(
        "thing",
        "spot",
        ("Then {hero} saw that {thing.full} was gone.", "这时，{hero}发现{thing.full}不见了。"),
        ("Suddenly {thing.full} was nowhere to be seen.", "忽然，{thing.full}不见了。"),
        ("But where was {thing.full}? It was gone.", "可是{thing.full}在哪里呢？它不见了。"),
    )
    tale.feel("hero", "sad", "worried")
    tale.search("hero")
    tale.paragraph()
    tale.meet()
    tale.tell(
        ('"I will help you look," said {friend}.', "“我来帮你找。”{friend}说。"),
        (
            '"Two pairs of eyes see more than one," said {friend}.',
            "“两双眼睛总比一双好。”{friend}说。",
        ),
        (
            '"When did you last see it?" asked {friend}.',
            "“你最后一次看见它是什么时候？”{friend}问。",
        ),
    )
    tale.find("friend", "thing")
    tale.give("friend", "thing", "hero")
    tale.thank("hero", "friend")
    tale.feel("hero", "happy", "relieved")


def _lost_pet(tale: Tale) -> None:
    tale.begin()
    tale.own(
        "hero",
        "thing",
        ("{hero} had {thing.a} as a pet.", "{hero}养了{thing.a}。"),
        ("{hero} had {thing.a} that followed everywhere.", "{hero}有{thing.a}，走到哪里它都跟着。"),
        ("{hero}'s best friend was {thing.a}.", "{hero}最好的朋友是{thing.a}。"),
    )
    tale.add_spot()
    tale.lose(
        "thing",
        "spot",
        ("A loud noise came, and {thing.the} ran away.", "突然一声巨响，{thing}吓得跑走了。"),
        ("When {hero} turned around, {thing.the} had run off.", "{hero}一转身，{thing}就跑掉了。"),
        ("One moment later {thing.the} had disappeared.", "才过了一会儿，{thing}就不见了。"),
    )
    tale.feel("hero", "worried", "sad")
    tale.paragraph()
    tale.tell(
        ("{hero} called and called.", "{hero}喊了一遍又一遍。"),
        ("{hero} called its name again and again.", "{hero}一遍又一遍地喊它的名字。"),
    )
    tale.search("hero")
    tale.tell(
        ("Then there was a tiny sound.", "这时传来一点细小的声音。"),
        ("Then something moved.", "这时，有什么东西动了一下。"),
        ("At last {hero} noticed two bright eyes.", "终于，{hero}注意到一双亮亮的眼睛。"),
    )
    tale.find(
        "hero",
        "thing",
        "spot",
        ("{hero} found {thing.full} {spot}.", "{hero}在{spot}找到了{thing.full}。"),
        ("{thing.full} was hiding {spot}.", "{thing.full}正躲在{spot}。"),
        ("{thing.full} was sitting {spot} and waiting.", "{thing.full}正坐在{spot}等着。"),
    )
    tale.tell(
        ("{hero} held {thing.the} close all the way home.", "{hero}紧紧抱着{thing}回了家。"),
        ("{hero} stroked {thing.the} gently.", "{hero}轻轻地摸了摸{thing}。"),
    )
    tale.feel("hero", "happy", "relieved")


def _blown_away(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.add_open_spot()
    tale.tell(
        ("Suddenly a strong wind began to blow.", "突然刮起了一阵大风。"),
        ("The wind grew stronger and stronger.", "风越刮越大。"),
    )
    tale.lose(
        "thing",
        "spot",
        ("The wind blew {thing.full} high into the air.", "大风把{thing.full}吹到了空中。"),
        ("The wind caught {thing.full} and carried it off.", "风卷起{thing.full}，把它带走了。"),
    )
    tale.tell(
        ('"Stop! Come back!" cried {hero}.', "“别跑！快回来！”{hero}喊道。"),
        ("{hero} ran after it as fast as possible.", "{hero}拼命地追赶。"),
        ('"Oh no!" shouted {hero}.', "“糟糕！”{hero}大叫起来。"),
    )
    tale.feel("hero", "worried", "sad", "surprised")
    tale.paragraph()
    tale.add_child()
    tale.tell(
        ("{friend} had seen everything.", "这一切{friend}都看见了。"),
        ("{friend} heard the shout and came running.", "{friend}听到喊声，跑了过来。"),
    )
    tale.tell(
        ('"I saw it come down {spot}," said {friend}.', "“我看见它落在{spot}了。”{friend}说。"),
        ('"Look, it fell {spot}," said {friend}.', "“看，它掉在{spot}了。”{friend}说。"),
    )
    tale.find("hero", "thing")
    tale.thank("hero", "friend")
    tale.feel("hero", "happy", "relieved", "thankful")


def _left_behind(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.add_open_spot()
    tale.put(
        "hero",
        "thing",
        "spot",
        (
            "{hero} put {thing.full} {spot} and went to play.",
            "{hero}把{thing.full}放在{spot}，去玩了。",
        ),
        (
            "{hero} wanted both hands free and left {thing.full} {spot}.",
            "{hero}想空出双手，就把{thing.full}留在了{spot}。",
        ),
    )
    tale.maybe(
        0.5,
        ("Then it was time to go home.", "后来，该回家了。"),
        ("An hour went by.", "一个小时过去了。"),
    )
    tale.tell(
        ("{hero} went home without it.", "{hero}忘了拿，就回家了。"),
        ("{hero} walked home and forgot all about it.", "{hero}走回了家，把它忘得干干净净。"),
    )
    tale.paragraph()
    tale.add_adult(FAMILY)
    tale.tell(
        ('"Where is your {thing.bare}?" asked {adult}.', "“你的{thing.bare}呢？”{adult}问。"),
        (
            '"Did you not have {thing.a} before?" asked {adult}.',
            "“刚才你不是还带着{thing.a}吗？”{adult}问。",
        ),
    )
    tale.feel("hero", "worried", "surprised", "sorry")
    tale.tell(
        ('"I know where it is!" said {hero}.', "“我知道它在哪里！”{hero}说。"),
        ("{hero} thought hard and remembered.", "{hero}努力地想，终于想起来了。"),
    )
    tale.tell(
        ("{hero} and {adult} hurried back {place.to}.", "{hero}和{adult}急忙回到{place.to}。"),
        (
            "Together, {hero} and {adult} ran back {place.to}.",
            "{hero}和{adult}一起跑回{place.to}。",
        ),
    )
    tale.find("hero", "thing")
    tale.feel("hero", "relieved", "happy", "glad")


def _owner_found(tale: Tale) -> None:
    tale.begin()
    tale.add_spot()
    tale.lay("thing", "spot")
    tale.find(
        "hero",
        "thing",
        "spot",
        ("{hero} found {thing.a} {spot}.", "{hero}在{spot}捡到了{thing.a}。"),
        (
            "There was {thing.a} {spot}, and {hero} picked it up.",
            "{spot}有{thing.a}，{hero}捡了起来。",
        ),
    )
    tale.tell(
        ("{hero} would have liked to keep it.", "{hero}很想把它留下。"),
        ("It was beautiful, but it was not {hero}'s.", "它很漂亮，但不是{hero}的。"),
        ('"Somebody must be missing this," thought {hero}.', "“一定有人在找它。”{hero}心想。"),
    )
    tale.maybe(
        0.5,
        ("{hero} asked everyone who passed.", "{hero}问了每一个路过的人。"),
        ("{hero} waited there for a while.", "{hero}在那里等了一会儿。"),
    )
    tale.paragraph()
    tale.add_adult(NEIGHBOURS)
    tale.tell(
        (
            "After a while {adult} came by, looking at the ground.",
            "过了一会儿，{adult}低头看着地面走过来。",
        ),
        ("Then {adult} came back, out of breath.", "这时，{adult}气喘吁吁地走了回来。"),
    )
    tale.tell(
        ('"I have lost my {thing}," said {adult}.', "“我的{thing}丢了。”{adult}说。"),
        ('"Has anyone seen my {thing}?" asked {adult}.', "“有人看见我的{thing}吗？”{adult}问。"),
    )
    tale.tell(
        ('"What colour is it?" asked {hero}.', "“它是什么颜色的？”{hero}问。"),
        ('"Please tell me its colour," said {hero}.', "“请告诉我它的颜色。”{hero}说。"),
    )
    tale.tell(('"It is {thing.colour}," said {adult}.', "“它是{thing.colour}的。”{adult}说。"))
    tale.give("hero", "thing", "adult")
    tale.feel("adult", "happy", "thankful", "relieved")
    tale.thank("adult", "hero")
    tale.feel("hero", "proud", "glad")


SHAPES = (
    Shape("lost and found", _lost_and_found, "carry", "visit"),
    Shape("a lost pet", _lost_pet, "pet", "outdoor"),
    Shape("blown away", _blown_away, "wind", "outdoor"),
    Shape("left behind", _left_behind, "carry", "outdoor"),
    Shape("the owner is found", _owner_found, "owned", "outdoor"),
)
