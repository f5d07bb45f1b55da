"""Plots of helping: mending, carrying, rescuing, cleaning, feeding."""

from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import DOCTOR, FAMILY, FARMER, GRANDMA, NEIGHBOURS


def _repair(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.add_adult((*FAMILY, *NEIGHBOURS))
    tale.paragraph()
    tale.tell(
        ("One moment of bad luck, and {thing.full} was broken.", "一不小心，{thing.full}坏了。"),
        ("Then there was a crack: {thing.full} was broken.", "只听咔嚓一声，{thing.full}坏了。"),
        (
            "But when {hero} wanted to use {thing.full}, it was broken.",
            "可是{hero}要用{thing}的时候，发现它坏了。",
        ),
    )
    tale.feel("hero", "sad", "disappointed")
    tale.tell(
        ('"Can you mend it?" {hero} asked {adult}.', "“您能修好它吗？”{hero}问{adult}。"),
        ('"Please help me," {hero} said to {adult}.', "“请帮帮我。”{hero}对{adult}说。"),
    )
    tale.give("hero", "thing", "adult")
    tale.tell(
        ('"Let me see," said {adult}.', "“让我看看。”{adult}说。"),
        ("{adult} fetched some glue and some string.", "{adult}拿来了胶水和细绳。"),
        ("{adult} opened the toolbox.", "{adult}打开了工具箱。"),
    )
    tale.tell(
        ("{adult} worked slowly and carefully.", "{adult}慢慢地、仔细地修理。"),
        ("It took an hour, and {hero} watched every step.", "修了一个小时，每一步{hero}都看着。"),
    )
    tale.paragraph()
    tale.tell(
        ('"There, as good as new," said {adult}.', "“好了，跟新的一样。”{adult}说。"),
        ("At last it was as good as new.", "最后，它跟新的一样了。"),
    )
    tale.give(
        "adult",
        "thing",
        "hero",
        ("{adult} gave {thing.full} back to {hero}.", "{adult}把{thing.full}还给了{hero}。"),
        ("{hero} got {thing.full} back from {adult}.", "{hero}从{adult}手里拿回了{thing.full}。"),
    )
    tale.thank("hero", "adult")
    tale.feel("hero", "happy", "glad", "thankful")


def _heavy_load(tale: Tale) -> None:
    tale.begin()
    tale.add_adult((GRANDMA, *NEIGHBOURS))
    tale.own(
        "adult",
        "thing",
        (
            "{adult} came along with {thing.a} full of potatoes.",
            "{adult}走了过来，{thing.a}里装满了土豆。",
        ),
        (
            "There was {adult}, who could hardly lift {thing.a}.",
            "{adult}也在那里，几乎提不动{thing.a}。",
        ),
        (
            "{hero} saw {adult} with {thing.a} that was much too heavy.",
            "{hero}看见{adult}提着{thing.a}，实在太重了。",
        ),
    )
    tale.be_feeling("adult", "tired")
    tale.paragraph()
    tale.tell(
        ('"Let me carry that," said {hero}.', "“我来提吧。”{hero}说。"),
        ('"May I help you?" asked {hero}.', "“我可以帮您吗？”{hero}问。"),
        ("{hero} did not wait to be asked.", "没等别人开口，{hero}就过去帮忙。"),
    )
    tale.give("adult", "thing", "hero")
    tale.tell(
        ("They walked slowly and talked about many things.", "两个人慢慢地走，聊了很多事情。"),
        ("It was a long way, but {hero} did not complain.", "路很长，但是{hero}没有抱怨。"),
        ("{hero} had to stop three times to rest.", "{hero}停下来歇了三次。"),
    )
    tale.give(
        "hero",
        "thing",
        "adult",
        (
            "At the door, {hero} gave {thing.full} back to {adult}.",
            "到了门口，{hero}把{thing.full}还给了{adult}。",
        ),
        (
            "At {adult}'s house, {hero} handed {thing.full} over to {adult}.",
            "到了{adult}家，{hero}把{thing.full}交给了{adult}。",
        ),
    )
    tale.thank("adult", "hero")
    tale.maybe(
        0.6,
        ("{adult} made hot tea for both of them.", "{adult}泡了热茶，两个人一起喝。"),
        ("{adult} gave {hero} a piece of chocolate.", "{adult}给了{hero}一块巧克力。"),
    )
    tale.feel("hero", "proud", "tired", "happy")


def _rescue(tale: Tale) -> None:
    tale.begin()
    tale.tell(
        ("A thin cry came from above.", "上面传来一声细细的叫声。"),
        ("Something was crying softly.", "有什么东西在轻轻地叫。"),
    )
    tale.tell(
        (
            "{hero} looked up and saw {thing.a} high in a tree.",
            "{hero}抬头一看，高高的树上有{thing.a}。",
        ),
        ("High up in a tree sat {thing.a}.", "高高的树上坐着{thing.a}。"),
    )
    tale.tell(
        ("It had climbed up and could not get down.", "它爬了上去，却下不来了。"),
        ("It did not dare to come down.", "它不敢下来。"),
    )
    tale.feel("hero", "worried", "nervous")
    tale.paragraph()
    tale.add_adult((FARMER, *NEIGHBOURS))
    tale.add_thing("tool", "ladder")
    tale.tell(
        ("{hero} ran to {adult} for help.", "{hero}跑去找{adult}帮忙。"),
        ("{hero} told {adult} about it.", "{hero}把这件事告诉了{adult}。"),
    )
    tale.own(
        "adult",
        "tool",
        ("{adult} brought a ladder.", "{adult}搬来了一架梯子。"),
        ("{adult} came with a long ladder.", "{adult}带着一架长长的梯子来了。"),
    )
    tale.tell(
        ("{adult} held it while {hero} climbed up.", "{adult}扶着，{hero}爬了上去。"),
        ("Step by step, {hero} climbed up.", "{hero}一步一步地爬了上去。"),
    )
    tale.take(
        "hero",
        "thing",
        ("{hero} took {thing.full} in both arms.", "{hero}用双手抱住了{thing.full}。"),
        (
            "{hero} reached out and lifted {thing.full} down.",
            "{hero}伸出手，把{thing.full}抱了下来。",
        ),
    )
    tale.tell(
        ("{thing.the} was safe at last.", "{thing}终于安全了。"),
        ("{thing.the} licked {hero}'s hand.", "{thing}舔了舔{hero}的手。"),
    )
    tale.feel("hero", "happy", "proud", "relieved")


def _scraped_knee(tale: Tale) -> None:
    tale.begin_together()
    tale.own("hero", "thing")
    tale.tell(
        (
            "{both} were running when {friend} tripped and fell.",
            "{both}正在跑，{friend}绊了一下，摔倒了。",
        ),
        ("{friend} climbed on a wall and fell off.", "{friend}爬上一堵墙，又摔了下来。"),
        ("{friend} slipped and fell down.", "{friend}脚下一滑，摔倒了。"),
    )
    tale.tell(
        ('"Ouch, my knee!" cried {friend}.', "“哎哟，我的膝盖！”{friend}叫道。"),
        ("{friend}'s knee was bleeding a little.", "{friend}的膝盖流了一点血。"),
    )
    tale.feel("friend", "sad", "afraid")
    tale.paragraph()
    tale.tell(
        ("{hero} washed the knee with clean water.", "{hero}用清水洗了洗{friend}的膝盖。"),
        ("{hero} helped {friend} to sit down.", "{hero}扶着{friend}坐了下来。"),
    )
    tale.give(
        "hero",
        "thing",
        "friend",
        (
            '"Hold this while I get help," said {hero} and gave {thing.full} to {friend}.',
            "“你先拿着这个，我去找人。”{hero}说着，把{thing.full}给了{friend}。",
        ),
        (
            "To comfort {friend}, {hero} gave {friend.him} {thing.full}.",
            "为了安慰{friend}，{hero}把{thing.full}给了{friend.him}。",
        ),
    )
    tale.cast("adult", DOCTOR)
    tale.world.arrive(DOCTOR, tale.place)
    tale.tell(
        ("{hero} ran and came back with {adult}.", "{hero}跑去请来了{adult}。"),
        ("Luckily, {adult} was passing by.", "幸好{adult}正从旁边经过。"),
    )
    tale.tell(
        ('"It is only a scratch," said {adult}.', "“只是擦破了一点皮。”{adult}说。"),
        ("{adult} put a bandage on the knee.", "{adult}在膝盖上包了一块纱布。"),
    )
    tale.feel("friend", "relieved", "calm", "thankful")


def _tidying(tale: Tale) -> None:
    tale.begin()
    tale.add_spot()
    tale.lay("thing", "spot")
    tale.tell(
        (
            "Everything lay on the floor: socks, paper and crayons.",
            "地上到处都是东西：袜子、纸和蜡笔。",
        ),
        ("It was so untidy that nobody could walk there.", "那里乱得没法走路。"),
        ("There was dust on everything.", "到处都是灰尘。"),
    )
    tale.add_adult(FAMILY)
    tale.tell(
        ('"Please tidy up before dinner," said {adult}.', "“晚饭前请收拾干净。”{adult}说。"),
        ('"This must be cleaned today," said {adult}.', "“今天一定要打扫干净。”{adult}说。"),
    )
    tale.feel("hero", "bored", "disappointed")
    tale.paragraph()
    tale.add_child()
    tale.tell(
        ("Just then {friend} knocked at the door.", "就在这时，{friend}来敲门了。"),
        ("Luckily, {friend} came to visit.", "幸好{friend}来做客了。"),
    )
    tale.tell(
        ('"I will sweep and you can wipe," said {friend}.', "“我来扫，你来擦。”{friend}说。"),
        ('"Together we will be quick," said {friend}.', "“我们一起干会很快的。”{friend}说。"),
    )
    tale.tell(
        ("They swept, wiped and folded for an hour.", "{both.he}又扫又擦又叠，忙了一个小时。"),
        ("They put every single thing in its place.", "{both.he}把每样东西都放回了原处。"),
    )
    tale.find(
        "friend",
        "thing",
        "spot",
        (
            "While cleaning, {friend} found {thing.full} {spot}.",
            "打扫的时候，{friend}在{spot}发现了{thing.full}。",
        ),
        (
            "Then {friend} pulled out {thing.full}, which had been {spot}.",
            "接着，{friend}把{thing.full}拿了出来，它一直在{spot}。",
        ),
    )
    tale.tell(
        ('"I missed it for months!" said {hero}.', "“我找了它好几个月！”{hero}说。"),
        ('"So that is where it was!" said {hero}.', "“原来它在那里！”{hero}说。"),
    )
    tale.give("friend", "thing", "hero")
    tale.feel("hero", "happy", "surprised", "glad")


def _hungry_animal(tale: Tale) -> None:
    tale.begin()
    tale.add_adult((FARMER,))
    tale.own(
        "adult",
        "thing",
        ("{adult} had {thing.a} that would not eat.", "{adult}有{thing.a}，它不肯吃东西。"),
        ("{adult} had {thing.a}, and it was weak and thin.", "{adult}有{thing.a}，它又弱又瘦。"),
    )
    tale.tell(
        (
            "{thing.the} lay in the straw and looked up sadly.",
            "{thing}躺在稻草上，伤心地抬头看着。",
        ),
        ("{thing.the} did not even lift its head.", "{thing}连头也不抬。"),
    )
    tale.feel("adult", "worried", "sad")
    tale.paragraph()
    tale.tell(
        ('"May I try?" asked {hero}.', "“让我试试好吗？”{hero}问。"),
        ("{hero} knelt down beside it.", "{hero}在它旁边蹲了下来。"),
    )
    tale.tell(
        ("{hero} held out a handful of fresh corn.", "{hero}捧出一把新鲜的玉米。"),
        ("{hero} mixed warm milk with a little honey.", "{hero}在热牛奶里加了一点蜂蜜。"),
        ("{hero} spoke to it in a low voice.", "{hero}低声地跟它说话。"),
    )
    tale.tell(
        ("First it only sniffed, then it began to eat.", "一开始它只是闻了闻，后来就吃了起来。"),
        ("Slowly, it took one bite and then another.", "它慢慢地吃了一口，又吃了一口。"),
    )
    tale.tell(
        ("{hero} came back every day for a week.", "整整一个星期，{hero}每天都来。"),
        ("After three days {thing.the} could run again.", "三天以后，{thing}又能跑了。"),
    )
    tale.give(
        "adult",
        "thing",
        "hero",
        (
            '"It trusts you, so keep it," said {adult} and gave {thing.full} to {hero}.',
            "“它信任你，你就养着它吧。”{adult}说着，把{thing.full}送给了{hero}。",
        ),
    )
    tale.feel("hero", "happy", "surprised", "proud")


SHAPES = (
    Shape("a repair", _repair, "fix"),
    Shape("a heavy load", _heavy_load, "load", "outdoor"),
    Shape("a rescue from a tree", _rescue, "climb", "outdoor"),
    Shape("a scraped knee", _scraped_knee, "cuddle", "outdoor"),
    Shape("tidying up", _tidying, "carry", "house"),
    Shape("the animal that would not eat", _hungry_animal, "farm", "farm", held_out=True),
)
