"""Plots of baking and of things that grow."""

from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import FAMILY, FARMER, GARDENER, GRANDMA, GRANDPA, NEIGHBOURS
from cloche.data.stories.world import Amount


def _baking(tale: Tale) -> None:
    tale.begin()
    tale.add_adult(FAMILY)
    kind = tale.plan.kind
    total, eaten = tale.dice.number(6, 10), tale.dice.number(1, 3)
    tale.tell(
        ('"Shall we bake?" asked {adult}.', "“我们来烤点心好吗？”{adult}问。"),
        ("{adult} put on an apron and called {hero}.", "{adult}系上围裙，叫来了{hero}。"),
    )
    tale.tell(
        ("{hero} weighed the flour and the sugar.", "{hero}称了面粉和糖。"),
        ("{hero} broke two eggs into a bowl.", "{hero}往碗里打了两个鸡蛋。"),
    )
    tale.tell(
        ("They stirred butter into the dough.", "{hero}和{adult}把黄油拌进面团里。"),
        ("They mixed everything with a wooden spoon.", "{hero}和{adult}用木勺把所有东西搅匀。"),
    )
    tale.maybe(
        0.6,
        (
            "There was flour on the table, on the floor and in {hero.his} hair.",
            "桌上、地上和{hero}的头发上都是面粉。",
        ),
        ("The oven was already hot.", "烤箱已经热了。"),
    )
    tale.paragraph()
    tale.tell(
        ("Soon a sweet smell filled the whole house.", "不久，整个屋子都充满了香甜的味道。"),
        ("{hero} watched through the glass door of the oven.", "{hero}透过烤箱的玻璃门看着。"),
    )
    tale.feel("hero", "excited")
    tale.have(
        "hero",
        kind,
        total,
        ("In the end there were {amount} on the tray.", "最后，烤盘上有{amount}。"),
        ("They had made {amount}.", "一共做了{amount}。"),
    )
    tale.cast("amount", Amount(kind, eaten))
    tale.tell(
        ("{adult} ate {amount}.", "{adult}吃了{amount}。"),
        ("{adult} tasted {amount} and nodded.", "{adult}尝了{amount}，点了点头。"),
    )
    tale.have(
        "hero",
        kind,
        total - eaten,
        ("So {hero} had {amount} left for the others.", "所以，{hero}还剩{amount}留给别人。"),
        (
            "{amount} were left, and {hero} put them on a plate.",
            "还剩{amount}，{hero}把它们放在盘子里。",
        ),
    )
    tale.feel("hero", "proud", "happy")


def _growing(tale: Tale) -> None:
    tale.begin()
    tale.cast("adult", GARDENER)
    tale.world.arrive(GARDENER, tale.place)
    tale.tell(
        ("{adult} gave {hero} a tiny seed.", "{adult}给了{hero}一颗小小的种子。"),
        (
            '"Plant this and wait," said {adult} and held out a seed.',
            "“把它种下去，然后等着。”{adult}递过来一颗种子说。",
        ),
    )
    tale.tell(
        ("{hero} dug a hole and covered it with earth.", "{hero}挖了一个坑，把种子用土盖好。"),
        ("{hero} pushed it into the soft earth.", "{hero}把种子按进了松软的土里。"),
    )
    tale.tell(
        ("Every morning {hero} brought water.", "每天早上，{hero}都来浇水。"),
        ("{hero} pulled out the weeds and kept the birds away.", "{hero}拔掉杂草，赶走小鸟。"),
    )
    tale.paragraph()
    tale.tell(
        ("One week passed, and nothing happened.", "一个星期过去了，什么动静也没有。"),
        ("For many days there was only bare earth.", "好多天，那里只有光秃秃的泥土。"),
    )
    tale.feel("hero", "disappointed", "worried", "bored")
    tale.tell(
        ('"Be patient," said {adult}.', "“要有耐心。”{adult}说。"),
        ('"Good things take time," said {adult}.', "“好东西需要时间。”{adult}说。"),
    )
    tale.paragraph()
    tale.tell(
        ("Then a small shoot came out of the ground.", "后来，一棵小芽从地里钻了出来。"),
        (
            "Then, after warm rain, two tiny leaves appeared.",
            "后来，一场暖雨过后，长出了两片小小的叶子。",
        ),
    )
    tale.own(
        "hero",
        "thing",
        ("A month later, {hero} had {thing.a}.", "一个月后，{hero}有了{thing.a}。"),
        (
            "When summer came, it had become {thing.a}, and it was {hero}'s own.",
            "夏天到了，它长成了{thing.a}，是{hero}自己的花。",
        ),
    )
    tale.tell(
        ("It smelled wonderful.", "它香极了。"),
        ("A bee was its first guest.", "一只蜜蜂是它的第一位客人。"),
        ("Everyone stopped to look at it.", "大家都停下来看它。"),
    )
    tale.feel("hero", "proud", "happy")


def _giant_vegetable(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.own(
        "hero",
        "thing",
        ("{hero} had grown a huge {thing}.", "{hero}种出了一{thing.measure}特别大的{thing}。"),
        (
            "There grew {hero}'s {thing}, and it was gigantic.",
            "那里长着{hero}的{thing}，大得不得了。",
        ),
    )
    tale.add_adult((FARMER, *NEIGHBOURS, GRANDPA, GRANDMA))
    tale.tell(
        ('"It must go to the contest," said {adult}.', "“应该拿它去参加比赛。”{adult}说。"),
        ("{adult} had never seen such a big one.", "{adult}从来没见过这么大的。"),
    )
    tale.feel("hero", "excited", "proud")
    tale.paragraph()
    tale.tell(
        ("But it would not come out of the ground.", "可是怎么也拔不出来。"),
        ("{hero} pulled and pulled, but it did not move.", "{hero}拔呀拔，它一动也不动。"),
    )
    tale.add_child()
    tale.tell(
        ("So {hero} called {adult} and {friend}.", "于是，{hero}叫来了{adult}和{friend}。"),
        ("{adult} and {friend} came to help.", "{adult}和{friend}来帮忙了。"),
    )
    tale.tell(
        ("They all pulled together until it came loose.", "大家一起用力拔，终于拔松了。"),
        (
            "With one last tug, it came free, and all of them fell over.",
            "最后用力一拉，它出来了，大家都摔倒在地上。",
        ),
    )
    tale.tell(
        ("At the contest, people stared in wonder.", "比赛的时候，人们都看呆了。"),
        ("They brought it to the contest on a cart.", "大家用小车把它运去参加比赛。"),
    )
    tale.tell(
        ("{hero} won the first prize.", "{hero}得了第一名。"),
        ("{hero} only came second, but that was enough.", "{hero}只得了第二名，不过也够了。"),
    )
    tale.give(
        "hero",
        "thing",
        "adult",
        (
            "Afterwards {hero} gave {thing.the} to {adult} for all the help.",
            "比赛之后，{hero}把{thing}送给了{adult}，感谢{adult.him}的帮忙。",
        ),
        (
            "In the evening {hero} gave {thing.the} to {adult} as a thank-you.",
            "晚上，{hero}把{thing}送给了{adult}，表示感谢。",
        ),
    )
    tale.feel("hero", "happy", "proud", "tired")


SHAPES = (
    Shape("baking", _baking, "baked", "kitchen", held_out=True),
    Shape("a seed grows", _growing, "bloom", "grow"),
    Shape("the giant vegetable", _giant_vegetable, "grown", "grow"),
)
