"""Plots of giving, lending, trading and buying."""

from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.things import kinds_tagged
from cloche.data.stories.words import FAMILY, SHOPKEEPER
from cloche.data.stories.world import Amount


def _birthday(tale: Tale) -> None:
    tale.without_age()
    tale.begin_together()
    tale.tell(
        ("It was {friend}'s birthday.", "这天是{friend}的生日。"),
        ("{friend} was eight years old that day.", "{friend}这天满八岁了。"),
        (
            "The next day would be {friend}'s birthday party, and {friend} could hardly wait.",
            "第二天就是{friend}的生日会，{friend}都等不及了。",
        ),
    )
    tale.own(
        "hero",
        "thing",
        ("{hero} had {thing.a} hidden behind {hero.his} back.", "{hero}在背后藏着{thing.a}。"),
        ("{hero} had brought {thing.a} as a present.", "{hero}带来了{thing.a}当礼物。"),
        ("{hero} had wrapped {thing.a} in paper.", "{hero}用纸包好了{thing.a}。"),
    )
    tale.paragraph()
    tale.tell(
        ('"Close your eyes," said {hero}.', "“把眼睛闭上。”{hero}说。"),
        ('"Guess what I have for you," said {hero}.', "“猜猜我给你带了什么。”{hero}说。"),
        ('"Happy birthday!" said {hero}.', "“生日快乐！”{hero}说。"),
    )
    tale.give("hero", "thing", "friend")
    tale.feel("friend", "happy", "surprised", "excited")
    tale.tell(
        ('"It is just what I wanted!" cried {friend}.', "“这正是我想要的！”{friend}叫道。"),
        ('"How did you know?" asked {friend}.', "“你怎么知道的？”{friend}问。"),
        ('"I will keep it for ever," said {friend}.', "“我会一直留着它。”{friend}说。"),
    )
    tale.maybe(
        0.7,
        ("They ate cake and sang songs.", "{both.he}吃了蛋糕，唱了歌。"),
        ("Then they blew out the candles.", "接着，{both.he}吹灭了蜡烛。"),
        ("They danced until they were out of breath.", "{both.he}跳起舞来，跳得气喘吁吁。"),
    )
    tale.feel("hero", "glad", "happy")


def _trade(tale: Tale) -> None:
    tale.begin_together()
    tale.add_thing("other", "toy")
    tale.own("hero", "thing")
    tale.own("friend", "other")
    tale.paragraph()
    tale.tell(
        ("{hero} looked at {other.full} and liked it.", "{hero}看着{other.full}，很喜欢它。"),
        ("{hero} thought that {other.full} was wonderful.", "{hero}觉得{other.full}真是太棒了。"),
    )
    tale.tell(
        ('"Shall we trade?" asked {hero}.', "“我们交换好吗？”{hero}问。"),
        ('"I will give you mine for yours," said {hero}.', "“我拿我的换你的吧。”{hero}说。"),
    )
    tale.tell(
        ("{friend} thought about it for a while.", "{friend}想了一会儿。"),
        ('"That is a good idea," said {friend}.', "“好主意。”{friend}说。"),
        (
            '"All right," said {friend}, "but no trading back!"',
            "“好吧，”{friend}说，“可不能再换回来哦！”",
        ),
    )
    tale.give("hero", "thing", "friend")
    tale.give("friend", "other", "hero")
    tale.maybe(
        0.6,
        ("Each of them had something new to play with.", "两个人都有了新的玩具。"),
        ("Both of them thought it was a fair trade.", "两个人都觉得换得很公平。"),
    )
    tale.feel("both", "happy", "glad", "excited")


def _shared_fruit(tale: Tale) -> None:
    tale.begin()
    kind = tale.plan.kind
    total = tale.dice.number(4, 9)
    given = tale.dice.number(1, 3)
    tale.have(
        "hero",
        kind,
        total,
        ("{hero} had {amount} in a basket.", "{hero}的篮子里有{amount}。"),
        ("{hero} had bought {amount}.", "{hero}买了{amount}。"),
        ("{hero} carried a bag with {amount}.", "{hero}提着一个袋子，里面有{amount}。"),
    )
    tale.paragraph()
    tale.meet()
    tale.tell(
        ("{friend} was hungry and had nothing to eat.", "{friend}肚子饿了，却没有东西吃。"),
        ("{friend} had forgotten {friend.his} lunch.", "{friend}忘了带午饭。"),
        ("{friend}'s stomach rumbled.", "{friend}的肚子咕咕叫。"),
    )
    tale.tell(
        ('"Would you like some?" asked {hero}.', "“你想吃一些吗？”{hero}问。"),
        ('"I have more than enough," said {hero}.', "“我有很多，吃不完。”{hero}说。"),
        ('"Let us share," said {hero}.', "“我们一起分吧。”{hero}说。"),
    )
    tale.have(
        "friend",
        kind,
        given,
        ("{hero} gave {amount} to {friend}.", "{hero}给了{friend}{amount}。"),
        ("So {friend} got {amount} from {hero}.", "于是，{friend}从{hero}那里得到了{amount}。"),
    )
    tale.have(
        "hero",
        kind,
        total - given,
        ("Now {hero} had {amount} left.", "现在，{hero}还剩{amount}。"),
        (
            "{amount} were left for {hero}."
            if total - given > 1
            else "{amount} was left for {hero}.",
            "还剩下{amount}给{hero}。",
        ),
    )
    tale.thank("friend", "hero")
    tale.feel("friend", "happy", "thankful")
    tale.feel("hero", "glad", "happy")


def _lending(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.meet()
    tale.paragraph()
    tale.tell(
        ('"May I borrow your {thing}?" asked {friend}.', "“我可以借你的{thing}吗？”{friend}问。"),
        (
            '"I need {thing.one}, but I have none," said {friend}.',
            "“我需要{thing.one}，可是我没有。”{friend}说。",
        ),
        (
            '"Could you lend me your {thing} until tomorrow?" asked {friend}.',
            "“你的{thing}可以借我用到明天吗？”{friend}问。",
        ),
    )
    tale.tell(
        ('"Yes, but please be careful," said {hero}.', "“可以，不过请小心一点。”{hero}说。"),
        ('"Of course," said {hero}.', "“当然可以。”{hero}说。"),
        ('"Take it, and bring it back tomorrow," said {hero}.', "“拿去吧，明天还给我。”{hero}说。"),
    )
    tale.give("hero", "thing", "friend")
    tale.paragraph()
    tale.tell(
        (
            "The next day it rained, but {friend} came all the same.",
            "第二天下雨了，可是{friend}还是来了。",
        ),
        ("The next day {friend} stood at {hero}'s door.", "第二天，{friend}站在{hero}家门口。"),
        ("One day later they met again.", "过了一天，{both.he}又见面了。"),
    )
    tale.give(
        "friend",
        "thing",
        "hero",
        ("{friend} gave {thing.full} back to {hero}.", "{friend}把{thing.full}还给了{hero}。"),
        ("{friend} brought {thing.full} back to {hero}.", "{friend}给{hero}送回了{thing.full}。"),
    )
    tale.maybe(
        0.6,
        ("It was as clean as before.", "它和以前一样干净。"),
        ("There was not a single scratch on it.", "上面一点划痕也没有。"),
    )
    tale.feel("hero", "glad", "happy", "relieved")


def _chain_of_gifts(tale: Tale) -> None:
    tale.begin_together()
    tale.own("hero", "thing")
    tale.add_child("third")
    tale.give("hero", "thing", "friend")
    tale.tell(
        ('"You can have it," said {hero}.', "“送给你吧。”{hero}说。"),
        ('"It is yours now," said {hero}.', "“现在它是你的了。”{hero}说。"),
    )
    tale.feel("friend", "happy", "surprised", "thankful")
    tale.paragraph()
    tale.tell(
        ("On the way home, {friend} met {third}.", "回家的路上，{friend}遇见了{third}。"),
        ("Later, {friend} saw {third} sitting alone.", "后来，{friend}看见{third}一个人坐着。"),
    )
    tale.be_feeling("third", "sad", "lonely", "bored")
    tale.tell(
        ("{friend} knew what to do.", "{friend}知道该怎么做。"),
        ('"This will cheer you up," said {friend}.', "“这个会让你开心起来的。”{friend}说。"),
    )
    tale.give("friend", "thing", "third")
    tale.feel("third", "happy", "glad")
    tale.tell(
        ("So one gift made two people happy.", "就这样，一件礼物让两个人都高兴了。"),
        ("The gift had gone from hand to hand.", "这件礼物从一双手传到了另一双手。"),
    )


def _saving_up(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.cast("adult", SHOPKEEPER)
    tale.world.arrive(SHOPKEEPER, tale.place)
    tale.world.hold(SHOPKEEPER, tale.thing())
    tale.tell(
        ("{hero} saw {thing.a} for sale.", "{hero}看见那里在卖{thing.a}。"),
        ("Among many things for sale was {thing.a}.", "在许多商品中间，有{thing.a}。"),
    )
    tale.tell(
        ('"How much is it?" asked {hero}.', "“它多少钱？”{hero}问。"),
        ("{hero} asked what it cost.", "{hero}问它要多少钱。"),
    )
    tale.tell(('"Ten coins," said {adult}.', "“十枚硬币。”{adult}说。"))
    price, saved = 10, tale.dice.number(3, 8)
    tale.cast("saved", _coins(saved))
    tale.cast("missing", _coins(price - saved))
    tale.tell(
        ("But {hero} had only {saved.number} of them.", "可是{hero}只有{saved.number}。"),
        ("{hero} counted and had only {saved.number}.", "{hero}数了数，只有{saved.number}。"),
    )
    tale.feel("hero", "disappointed", "sad")
    tale.paragraph()
    tale.add_adult(FAMILY, "helper")
    tale.tell(
        ("For weeks {hero} washed dishes for {helper}.", "一连几个星期，{hero}都帮{helper}洗碗。"),
        ("{hero} swept the floor for {helper} every evening.", "{hero}每天晚上都帮{helper}扫地。"),
        ("{hero} watered the plants for {helper} every day.", "{hero}每天都帮{helper}浇花。"),
    )
    tale.tell(
        (
            "In this way {hero} earned the other {missing.number}.",
            "就这样，{hero}挣到了另外{missing.number}。",
        ),
        (
            "Little by little, {hero} earned {missing.number} more.",
            "慢慢地，{hero}又挣到了{missing.number}。",
        ),
    )
    tale.tell(
        ("{hero} ran back {place.to} and paid.", "{hero}跑回{place.to}，付了钱。"),
        (
            "Then {hero} went back and put all ten on the counter.",
            "然后，{hero}回去把十枚硬币都放在柜台上。",
        ),
    )
    tale.give("adult", "thing", "hero")
    tale.feel("hero", "proud", "happy")


def _coins(number: int) -> Amount:
    return Amount(kinds_tagged("coin")[0], number)


def _kept_for_you(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.add_adult(FAMILY)
    tale.world.hold(tale.person("adult"), tale.thing())
    tale.tell(
        ("{adult} called {hero} over.", "{adult}把{hero}叫了过去。"),
        ("{adult} was there and looked very mysterious.", "{adult}也在那里，样子很神秘。"),
    )
    tale.tell(
        ('"I had {thing.a} when I was young," said {adult}.', "“我小时候有{thing.a}。”{adult}说。"),
        (
            "{adult} opened a bag, and in it was {thing.a}.",
            "{adult}打开一个袋子，里面是{thing.a}。",
        ),
    )
    tale.tell(
        (
            '"I kept it for you all these years," said {adult}.',
            "“这么多年，我一直为你留着它。”{adult}说。",
        ),
        (
            '"Now you are old enough for it," said {adult}.',
            "“现在你长大了，可以用它了。”{adult}说。",
        ),
        ('"It has waited a long time for you," said {adult}.', "“它已经等你很久了。”{adult}说。"),
    )
    tale.paragraph()
    tale.give("adult", "thing", "hero")
    tale.feel("hero", "surprised", "happy", "thankful")
    tale.tell(
        ("{hero} touched it very carefully.", "{hero}小心翼翼地摸了摸它。"),
        ("{hero} turned it over and looked at every side.", "{hero}把它翻过来，每一面都看了看。"),
    )
    tale.tell(
        ('"Did you play with it a lot?" asked {hero}.', "“您以前常常玩它吗？”{hero}问。"),
        ('"Tell me about those days," said {hero}.', "“给我讲讲那时候的事吧。”{hero}说。"),
    )
    tale.tell(
        ("So {adult} told one story after another.", "于是，{adult}讲了一个又一个故事。"),
        ("{adult} laughed and began to tell.", "{adult}笑了，开始讲了起来。"),
        ("They talked until it grew dark.", "{hero}和{adult}一直聊到天黑。"),
    )
    tale.feel("adult", "happy", "glad", "calm")


SHAPES = (
    Shape("a birthday present", _birthday, "gift"),
    Shape("a trade", _trade, "toy", "outdoor"),
    Shape("shared fruit", _shared_fruit, "fruit", "outdoor"),
    Shape("a loan returned", _lending, "carry", "visit"),
    Shape("a chain of gifts", _chain_of_gifts, "gift", "outdoor", held_out=True),
    Shape("saving up", _saving_up, "gift", "shop"),
    Shape("kept for you", _kept_for_you, "toy", "home"),
)
