"""Plots of contests, mistakes and surprises."""

from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import FAMILY, GRANDMA, GRANDPA, TEACHER


def _race(tale: Tale) -> None:
    tale.without_age()
    tale.begin_together()
    tale.cast("adult", TEACHER)
    tale.world.arrive(TEACHER, tale.place)
    tale.own(
        "adult",
        "thing",
        ("{adult} held up {thing.a}.", "{adult}举起了{thing.a}。"),
        ("{adult} had {thing.a} as a prize.", "{adult}准备了{thing.a}当奖品。"),
    )
    tale.tell(
        ('"The winner will get it," said {adult}.', "“谁赢了就给谁。”{adult}说。"),
        (
            '"Whoever reaches the wall first may have it," said {adult}.',
            "“谁先跑到墙边，它就是谁的。”{adult}说。",
        ),
    )
    tale.feel("both", "excited", "nervous")
    tale.paragraph()
    tale.tell(
        ("Ready, steady, go!", "预备，跑！"),
        ("One, two, three, and off they went!", "一、二、三，跑！"),
    )
    winner, loser = ("hero", "friend") if tale.dice.chance(0.5) else ("friend", "hero")
    tale.cast("winner", tale.person(winner))
    tale.cast("loser", tale.person(loser))
    tale.tell(
        ("At first nobody could say who would win.", "一开始，谁也说不准谁会赢。"),
        ("First {loser} was in front.", "一开始，{loser}跑在前面。"),
    )
    tale.tell(
        (
            "Near the end {loser} stumbled, and {winner} won.",
            "快到终点时，{loser}绊了一下，{winner}赢了。",
        ),
        (
            "In the last moment {winner} passed {loser} and won.",
            "最后一刻，{winner}超过了{loser}，赢了。",
        ),
        (
            "Both ran as fast as they could, but {winner} won.",
            "两个人都拼命地跑，不过{winner}赢了。",
        ),
    )
    tale.give("adult", "thing", "winner")
    tale.feel("winner", "proud", "happy")
    tale.tell(
        (
            '"Well run," said {loser} and shook {winner}\'s hand.',
            "“跑得真好。”{loser}说着，跟{winner}握了握手。",
        ),
        ('"Next time I will win," said {loser} and laughed.', "“下次我会赢的。”{loser}笑着说。"),
    )


def _wrong_box(tale: Tale) -> None:
    tale.begin()
    tale.add_adult(FAMILY)
    tale.add_thing("other", "carry")
    tale.add_spot("spot")
    tale.add_spot("second")
    tale.lay("thing", "second")
    tale.lay("other", "spot")
    tale.tell(
        ("{adult} had sent {hero} to fetch {thing.full}.", "{adult}让{hero}来拿{thing.full}。"),
        (
            '"Please bring me {thing.full}," {adult} had said.',
            "“请帮我把{thing.full}拿来。”{adult}对{hero}说过。",
        ),
    )
    tale.tell(
        (
            "There were two boxes: one {spot} and one {second}.",
            "那里有两个箱子：一个在{spot}，一个在{second}。",
        ),
        ("One box stood {spot} and another {second}.", "一个箱子在{spot}，另一个在{second}。"),
    )
    tale.paragraph()
    tale.tell(
        (
            "{hero} opened the first box and found only {other.a}.",
            "{hero}打开第一个箱子，里面只有{other.a}。",
        ),
        ("In the box {spot} there was only {other.a}.", "{spot}的箱子里只有{other.a}。"),
    )
    tale.feel("hero", "surprised", "disappointed")
    tale.tell(
        ('"This is the wrong box," said {hero}.', "“这个箱子不对。”{hero}说。"),
        ("{hero} closed the lid again.", "{hero}又把盖子盖上了。"),
    )
    tale.tell(
        (
            "The second box had a rusty lock, but it opened.",
            "第二个箱子的锁生锈了，不过还是打开了。",
        ),
        ("The lid of the second box was very heavy.", "第二个箱子的盖子很重。"),
    )
    tale.find(
        "hero",
        "thing",
        "second",
        (
            "In it, {second}, {hero} found {thing.full}.",
            "在{second}的这个箱子里，{hero}找到了{thing.full}。",
        ),
        (
            "From the box {second}, {hero} took out {thing.full}.",
            "{hero}从{second}的箱子里拿出了{thing.full}。",
        ),
    )
    tale.give("hero", "thing", "adult")
    tale.thank("adult", "hero")
    tale.feel("adult", "happy", "glad")


def _mix_up(tale: Tale) -> None:
    tale.begin_together()
    tale.add_twin("other")
    tale.own("hero", "thing")
    tale.own(
        "friend",
        "other",
        (
            "{friend} had one that looked almost the same, but it was {other.colour}.",
            "{friend}有一{other.measure}差不多一样的，不过是{other.colour}的。",
        ),
        (
            "{friend} had one just like it, only {other.colour}.",
            "{friend}也有一{other.measure}，不过是{other.colour}的。",
        ),
    )
    tale.tell(
        ("When it was time to go, they were in a hurry.", "要走的时候，{both.he}都很匆忙。"),
        ("It was dark when they packed their things.", "收拾东西的时候，天已经黑了。"),
    )
    tale.swap(
        "hero",
        "thing",
        "friend",
        "other",
        (
            "So {hero} took {other.full}, and {friend} took {thing.full}.",
            "结果，{hero}拿走了{other.full}，{friend}拿走了{thing.full}。",
        ),
        (
            "Without noticing, {hero} went off with {other.full} and {friend} with {thing.full}.",
            "不知不觉，{hero}拿着{other.full}走了，{friend}拿着{thing.full}走了。",
        ),
    )
    tale.paragraph()
    tale.tell(
        ('At home {hero} cried, "This is not mine!"', "到了家里，{hero}叫道：“这不是我的！”"),
        ("Only at home did {hero} see the mistake.", "到了家里，{hero}才发现拿错了。"),
    )
    tale.feel("hero", "surprised", "worried")
    tale.tell(
        ("{hero} ran to {friend}'s house as fast as possible.", "{hero}飞快地跑到{friend}家。"),
        ("Halfway down the road, they met.", "两个人在半路上碰见了。"),
    )
    tale.tell(
        ('"I think we have mixed something up," said {friend}.', "“我想我们拿错了。”{friend}说。"),
        ("{friend} was already waiting and laughed.", "{friend}已经在等着了，笑了起来。"),
    )
    tale.swap(
        "hero",
        "other",
        "friend",
        "thing",
        (
            "They changed back: {hero} got {thing.full}, and {friend} got {other.full}.",
            "{both.he}换了回来：{hero}拿回了{thing.full}，{friend}拿回了{other.full}。",
        ),
    )
    tale.feel("both", "relieved", "happy")


def _riddle(tale: Tale) -> None:
    tale.begin_together()
    tale.own(
        "friend",
        "thing",
        ("{friend} hid something under a cloth.", "{friend}把一样东西藏在布下面。"),
        ("{friend} held a bag and would not open it.", "{friend}拿着一个袋子，不肯打开。"),
    )
    tale.tell(
        (
            '"If you guess it, you may keep it," said {friend}.',
            "“你要是猜中了，就归你。”{friend}说。",
        ),
        (
            '"Three guesses, and it is yours," said {friend}.',
            "“猜三次，猜中就是你的。”{friend}说。",
        ),
    )
    tale.feel("hero", "excited", "nervous")
    tale.paragraph()
    tale.tell(
        ('"Is it alive?" asked {hero}.', "“它是活的吗？”{hero}问。"),
        ('"Can I eat it?" asked {hero}.', "“它能吃吗？”{hero}问。"),
    )
    tale.tell(
        ('"No, no," said {friend} and giggled.', "“不对不对。”{friend}咯咯地笑着说。"),
        ('"Wrong," said {friend}.', "“不对。”{friend}说。"),
    )
    tale.tell(
        ('"What colour is it?" asked {hero}.', "“它是什么颜色的？”{hero}问。"),
        ('"Please tell me the colour," begged {hero}.', "“告诉我颜色吧。”{hero}央求道。"),
    )
    tale.tell(
        ('"It is {thing.colour}," said {friend}.', "“是{thing.colour}的。”{friend}说。"),
    )
    tale.tell(
        ("{hero} thought for a whole minute.", "{hero}想了整整一分钟。"),
        (
            "{hero} closed both eyes and felt it through the cloth.",
            "{hero}闭上眼睛，隔着布摸了摸。",
        ),
    )
    tale.tell(
        ('"It is {thing.a}!" cried {hero}.', "“是{thing.a}！”{hero}叫道。"),
        ('"Then it must be {thing.a}," said {hero}.', "“那一定是{thing.a}。”{hero}说。"),
    )
    tale.tell(
        ('"Right!" said {friend}.', "“对了！”{friend}说。"),
        ("{friend} clapped.", "{friend}拍起手来。"),
    )
    tale.give("friend", "thing", "hero")
    tale.feel("hero", "happy", "proud")


def _parcel(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.add_adult((GRANDMA, GRANDPA))
    tale.tell(
        (
            "{hero} was writing a letter to {adult}, who lived far away.",
            "{hero}正在给{adult}写信，{adult.he}住在很远的地方。",
        ),
        (
            "{adult} lived far away, so {hero} wrote a letter.",
            "{adult}住得很远，所以{hero}写了一封信。",
        ),
    )
    tale.tell(
        ("{hero} drew a picture of the family below it.", "{hero}在下面画了一家人。"),
        ("It was two pages long and had many mistakes.", "信有两页长，还有很多错字。"),
        ('"I miss you," it said at the end.', "信的最后写着：“我想您。”"),
    )
    tale.tell(
        ("{hero} put a stamp on it and posted it.", "{hero}贴上邮票，把信寄了出去。"),
        ("The postman took it along in his bag.", "邮递员把信装进包里带走了。"),
    )
    tale.paragraph()
    tale.tell(
        ("Days went by without an answer.", "一天天过去了，没有回信。"),
        ("{hero} looked into the letter box every day.", "{hero}每天都去看信箱。"),
    )
    tale.feel("hero", "worried", "lonely", "disappointed")
    tale.paragraph()
    tale.world.hold(tale.person("adult"), tale.thing())
    tale.tell(
        ("Then a parcel arrived, tied with string.", "后来，来了一个用绳子捆着的包裹。"),
        ("One morning there was a parcel at the door.", "一天早上，门口放着一个包裹。"),
    )
    tale.give(
        "adult",
        "thing",
        "hero",
        ("{adult} had sent {hero} {thing.a}.", "{adult}给{hero}寄来了{thing.a}。"),
        ("In it was {thing.a} for {hero} from {adult}.", "里面是{adult}送给{hero}的{thing.a}。"),
    )
    tale.tell(
        (
            '"Your letter made my day," {adult} had written.',
            "“你的信让我高兴了一整天。”{adult}写道。",
        ),
        ('"Come and see me soon," {adult} had written.', "“快来看我吧。”{adult}写道。"),
    )
    tale.feel("hero", "happy", "surprised", "excited")


def _on_your_head(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.tell(
        (
            "After a while {hero} did not think of it any more.",
            "过了一会儿，{hero}就不再想着它了。",
        ),
        ("{hero} was busy with other things.", "{hero}忙着做别的事。"),
    )
    tale.tell(
        (
            '"Where is my {thing.bare}?" asked {hero} suddenly.',
            "“我的{thing.bare}呢？”{hero}忽然问。",
        ),
        (
            "Then {hero} wanted to put on {thing.full} and could not see it.",
            "后来，{hero}想戴上{thing.full}，却看不到它。",
        ),
    )
    tale.feel("hero", "worried", "surprised")
    tale.search("hero")
    tale.paragraph()
    tale.add_adult(FAMILY)
    tale.tell(
        ('{hero} asked {adult}, "Have you seen it?"', "{hero}问{adult}：“您看见它了吗？”"),
        ('"Please help me search," {hero} said to {adult}.', "“请帮我找一找。”{hero}对{adult}说。"),
    )
    tale.tell(
        ("{adult} looked at {hero} and began to laugh.", "{adult}看着{hero}，笑了起来。"),
        ("{adult} tried hard not to laugh.", "{adult}努力忍住不笑。"),
    )
    tale.tell(
        ('"Go and look in the mirror," said {adult}.', "“去照照镜子吧。”{adult}说。"),
        ('"You are wearing it!" said {adult}.', "“你正戴着它呢！”{adult}说。"),
    )
    tale.tell(
        ("It had been on {hero}'s own head all the time.", "原来它一直在{hero}自己的头上。"),
        ("{hero} touched {hero.his} head, and there it was.", "{hero}摸了摸头，它就在那里。"),
    )
    tale.feel("hero", "relieved", "surprised", "happy")
    tale.maybe(
        0.6,
        ("They laughed about it all evening.", "为了这件事，大家笑了一晚上。"),
        (
            "From that day on, {hero} always touched {hero.his} head first.",
            "从那天起，{hero}总是先摸摸自己的头。",
        ),
    )


SHAPES = (
    Shape("a race", _race, "gift", "open"),
    Shape("the wrong box", _wrong_box, "carry", "house"),
    Shape("a mix-up", _mix_up, "twin", "outdoor"),
    Shape("a riddle", _riddle, "riddle", "outdoor"),
    Shape("a letter and a parcel", _parcel, "gift", "house"),
    Shape("on your own head", _on_your_head, "headwear", "home"),
)
