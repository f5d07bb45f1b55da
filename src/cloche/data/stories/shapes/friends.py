"""Plots of friends and feelings: quarrels, promises, truth, envy, fear, being new."""

from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import FAMILY, TEACHER


def _quarrel(tale: Tale) -> None:
    tale.begin_together()
    tale.own("hero", "thing")
    tale.tell(
        ("{friend} wanted to have it, too.", "{friend}也想要它。"),
        ('"Now it is my turn!" said {friend}.', "“现在轮到我了！”{friend}说。"),
    )
    tale.tell(
        ('"No, it is mine!" cried {hero}.', "“不行，它是我的！”{hero}叫道。"),
        ('"I will not let you," said {hero}.', "“我不给你。”{hero}说。"),
    )
    tale.feel("both", "angry")
    tale.maybe(
        0.6,
        ("{friend} went off and sat down far away.", "{friend}走开了，坐得远远的。"),
        ("For a long time neither of them spoke.", "过了很久，两个人谁也不说话。"),
    )
    tale.paragraph()
    tale.tell(
        ("But playing alone was no fun.", "可是一个人玩没有意思。"),
        ("After a while, {hero} missed {friend}.", "过了一会儿，{hero}想念{friend}了。"),
    )
    tale.feel("hero", "sorry", "lonely")
    tale.tell(
        ('"I am sorry," said {hero}. "Let us take turns."', "“对不起，”{hero}说，“我们轮流玩吧。”"),
        (
            '"You are more important than {thing.one}," said {hero}.',
            "“你比{thing.one}重要多了。”{hero}说。",
        ),
    )
    tale.give("hero", "thing", "friend")
    tale.tell(
        ('"I am sorry, too," said {friend}.', "“我也对不起你。”{friend}说。"),
        ("{friend} took {hero}'s hand.", "{friend}拉起了{hero}的手。"),
        ('"Friends again?" asked {friend}.', "“我们和好吧？”{friend}问。"),
    )
    tale.feel("both", "happy", "glad", "relieved")


def _promise(tale: Tale) -> None:
    tale.begin_together()
    tale.own("friend", "thing")
    tale.tell(
        ('"I am going away for a week," said {friend}.', "“我要出门一个星期。”{friend}说。"),
        ("{friend} had to travel to the city for a few days.", "{friend}要去城里住几天。"),
    )
    tale.give(
        "friend",
        "thing",
        "hero",
        (
            '"Please look after this," said {friend} and gave {thing.full} to {hero}.',
            "“请帮我照看这个。”{friend}说着，把{thing.full}交给了{hero}。",
        ),
        ("{friend} left {thing.full} with {hero}.", "{friend}把{thing.full}托付给了{hero}。"),
    )
    tale.tell(
        ('"I promise," said {hero}.', "“我答应你。”{hero}说。"),
        ('"You can trust me," said {hero}.', "“你可以相信我。”{hero}说。"),
    )
    tale.paragraph()
    tale.add_child("third")
    tale.tell(
        (
            'A few days later {third} asked, "Will you give it to me?"',
            "几天后，{third}问：“你能把它给我吗？”",
        ),
        ("{third} offered a lot of sweets for it.", "{third}想用很多糖果来换它。"),
    )
    tale.tell(
        ('"No," said {hero}. "I gave my word."', "“不行，”{hero}说，“我答应过别人。”"),
        (
            "{hero} shook {hero.his} head, because a promise is a promise.",
            "{hero}摇了摇头，因为答应了的事就要做到。",
        ),
    )
    tale.feel("third", "disappointed", "surprised")
    tale.paragraph()
    tale.tell(
        ("A week later, {friend} came back.", "一个星期后，{friend}回来了。"),
        ("Finally, {friend} returned from the journey.", "终于，{friend}旅行回来了。"),
    )
    tale.give(
        "hero",
        "thing",
        "friend",
        ("{hero} gave {thing.full} back to {friend}.", "{hero}把{thing.full}还给了{friend}。"),
        (
            "Smiling, {hero} returned {thing.full} to {friend}.",
            "{hero}笑着把{thing.full}还给了{friend}。",
        ),
    )
    tale.feel("friend", "happy", "thankful", "glad")
    tale.feel("hero", "proud")


def _truth(tale: Tale) -> None:
    tale.add_adult(FAMILY)
    tale.begin()
    tale.world.hold(tale.person("adult"), tale.thing())
    tale.tell(
        (
            "{adult} loved {thing.a} more than anything else in the house.",
            "家里{adult}最喜欢的是{thing.a}。",
        ),
        (
            "On the table stood {thing.a} that belonged to {adult}.",
            "桌上有{thing.a}，是{adult}的。",
        ),
    )
    tale.tell(
        ("{hero} was throwing a ball against the wall.", "{hero}正对着墙扔球。"),
        ("{hero} was dancing and did not look around.", "{hero}在跳舞，没有看周围。"),
    )
    tale.remove(
        "thing",
        ("With a crash, {thing.full} fell down and broke.", "砰的一声，{thing.full}掉下来摔碎了。"),
        (
            "There was a crash, and {thing.full} lay in pieces.",
            "哗啦一声，{thing.full}摔成了碎片。",
        ),
    )
    tale.feel("hero", "afraid", "sorry")
    tale.paragraph()
    tale.tell(
        ("At first {hero} wanted to blame the cat.", "一开始，{hero}想说是猫干的。"),
        ("{hero} swept up the pieces and wanted to say nothing.", "{hero}扫起碎片，想什么也不说。"),
    )
    tale.tell(
        ("But a lie would have felt worse.", "可是说谎会更难受。"),
        ("But {hero} could not keep quiet for long.", "可是{hero}没法一直不说。"),
    )
    tale.tell(
        (
            '"It was me," {hero} told {adult}. "I broke it."',
            "“是我，”{hero}对{adult}说，“是我打碎的。”",
        ),
        ("{hero} went to {adult} and told the truth.", "{hero}走到{adult}面前，说出了真相。"),
    )
    tale.tell(
        ("{adult} was silent for a moment.", "{adult}沉默了一会儿。"),
        ("{adult} looked at the pieces and then at {hero}.", "{adult}看了看碎片，又看了看{hero}。"),
    )
    tale.tell(
        ('"Thank you for being honest," said {adult}.', "“谢谢你这么诚实。”{adult}说。"),
        (
            '"The truth is worth more than {thing.one}," said {adult}.',
            "“真话比{thing.one}更宝贵。”{adult}说。",
        ),
    )
    tale.feel("hero", "relieved", "calm")


def _envy(tale: Tale) -> None:
    tale.begin_together()
    tale.own(
        "friend",
        "thing",
        ("{friend} had got {thing.a}.", "{friend}得到了{thing.a}。"),
        (
            "{friend} came with {thing.a} that everyone admired.",
            "{friend}带来了{thing.a}，人人都夸它好看。",
        ),
    )
    tale.feel("hero", "jealous")
    tale.tell(
        ('"I never get anything nice," thought {hero}.', "“我从来没有好东西。”{hero}心想。"),
        ("{hero} did not want to look at it any longer.", "{hero}不想再看它了。"),
    )
    tale.paragraph()
    tale.tell(
        ("{friend} noticed it at once.", "{friend}马上就注意到了。"),
        ('"Is something wrong?" asked {friend}.', "“你怎么了？”{friend}问。"),
    )
    tale.tell(
        (
            '"I wish I had one like that," said {hero} quietly.',
            "“我也想要一个那样的。”{hero}小声说。",
        ),
        ('"I wish it were mine," {hero} admitted.', "“我真希望它是我的。”{hero}承认了。"),
    )
    tale.tell(
        ('"We can use it together," said {friend}.', "“我们可以一起用。”{friend}说。"),
        ('"You may have it today," said {friend}.', "“今天让你用。”{friend}说。"),
    )
    tale.give("friend", "thing", "hero")
    tale.maybe(
        0.6,
        ("All at once, the bad feeling was gone.", "一下子，不舒服的感觉全没了。"),
        ("They had more fun together than alone.", "两个人一起比一个人有意思多了。"),
    )
    tale.feel("hero", "happy", "thankful", "glad")


def _new_child(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.add_child()
    tale.cast("adult", TEACHER)
    tale.world.arrive(TEACHER, tale.place)
    tale.tell(
        (
            '"This is {friend}, who is new here," said {adult}.',
            "“这是{friend}，新来的同学。”{adult}说。",
        ),
        (
            "{adult} brought in {friend}, who knew nobody.",
            "{adult}领来了{friend}，{friend.he}谁也不认识。",
        ),
    )
    tale.tell(
        ("{friend} stood by the wall and watched the others.", "{friend}站在墙边，看着别人。"),
        ("{friend} came from a faraway country.", "{friend}来自一个遥远的国家。"),
    )
    tale.feel("friend", "lonely", "nervous")
    tale.paragraph()
    tale.tell(
        ("{hero} remembered being new.", "{hero}想起了自己刚来的时候。"),
        ("{hero} walked over and smiled.", "{hero}笑着走了过去。"),
    )
    tale.tell(
        ('"Do you want to play with us?" asked {hero}.', "“你想和我们一起玩吗？”{hero}问。"),
        ('"You can sit beside me," said {hero}.', "“你可以坐我旁边。”{hero}说。"),
    )
    tale.tell(
        ('"I would love to," said {friend}.', "“太好了。”{friend}说。"),
        ("{friend} nodded shyly.", "{friend}害羞地点了点头。"),
    )
    tale.give("hero", "thing", "friend")
    tale.tell(
        ("They ran and laughed until the bell rang.", "{both.he}跑啊笑啊，直到铃声响起。"),
        ("By the end of the day they were friends.", "一天过去，{both.he}成了朋友。"),
        ("{friend} taught {hero} a song from home.", "{friend}教{hero}唱了一首家乡的歌。"),
    )
    tale.feel("friend", "happy", "glad")


def _afraid_of_the_dark(tale: Tale) -> None:
    tale.begin()
    tale.add_spot()
    tale.lay("thing", "spot")
    tale.tell(
        ("The light went out, and it was pitch dark.", "灯突然灭了，一片漆黑。"),
        ("There was no lamp, and {hero} could hardly see.", "那里没有灯，{hero}几乎什么也看不见。"),
    )
    tale.tell(
        ("Something scratched and rustled.", "有什么东西在抓，沙沙地响。"),
        ("Then came a strange noise.", "这时，传来一阵奇怪的声音。"),
    )
    tale.feel("hero", "afraid", "nervous")
    tale.paragraph()
    tale.tell(
        ('"Is anyone there?" whispered {hero}.', "“有人吗？”{hero}小声问。"),
        ("{hero} counted to ten and took one step.", "{hero}数到十，迈出了一步。"),
        ('"I am brave," {hero} told {hero.himself}.', "“我很勇敢。”{hero}对自己说。"),
    )
    tale.tell(
        ("Slowly, {hero.his} eyes got used to the dark.", "慢慢地，{hero.his}眼睛习惯了黑暗。"),
        (
            "Then {hero} opened the door a little, and light came in.",
            "接着，{hero}把门打开一点，光照了进来。",
        ),
    )
    tale.tell(
        ("It was no ghost.", "那不是鬼。"),
        ("There was no monster at all.", "根本没有什么怪物。"),
    )
    tale.find(
        "hero",
        "thing",
        "spot",
        (
            "It was only {thing.a} {spot}, and {hero} picked it up.",
            "原来只是{spot}的{thing.a}，{hero}把它抱了起来。",
        ),
        (
            "Only {thing.a} sat {spot}, and {hero} lifted it up.",
            "只有{thing.a}坐在{spot}，{hero}把它抱了起来。",
        ),
    )
    tale.tell(
        ('"You silly little thing," laughed {hero}.', "“你这个小傻瓜。”{hero}笑着说。"),
        ("{thing.the} was more scared than {hero} was.", "{thing}比{hero}还要害怕。"),
    )
    tale.feel("hero", "relieved", "proud", "happy")


def _hide_and_seek(tale: Tale) -> None:
    tale.begin_together()
    tale.own("friend", "thing")
    tale.add_spot()
    tale.tell(
        ('"Let us play hide-and-seek," said {hero}.', "“我们玩捉迷藏吧。”{hero}说。"),
        ("They decided to play hide-and-seek.", "{both.he}决定玩捉迷藏。"),
    )
    tale.tell(
        ("{hero} covered {hero.his} eyes and counted to twenty.", "{hero}捂住眼睛，数到二十。"),
        ("{hero} turned to the wall and counted.", "{hero}面对着墙数数。"),
    )
    tale.tell(
        ("{friend} slipped away without a sound.", "{friend}悄悄地溜走了。"),
        ("{friend} tiptoed off and held {friend.his} breath.", "{friend}踮着脚走开，屏住了呼吸。"),
    )
    tale.paragraph()
    tale.search("hero")
    tale.tell(
        ("Only the wind could be heard.", "只听得见风声。"),
        ("There was no trace of {friend}.", "一点{friend}的影子也没有。"),
    )
    tale.lose(
        "thing",
        "spot",
        (
            "Then {hero} saw something {thing.colour}: {friend} had dropped {thing.full} {spot}.",
            "这时，{hero}看见一个{thing.colour}的东西：{friend}把{thing.full}掉在了{spot}。",
        ),
    )
    tale.tell(
        ('"Found you!" cried {hero}.', "“找到你了！”{hero}喊道。"),
        ('"I can see you!" called {hero}.', "“我看见你了！”{hero}叫道。"),
    )
    tale.tell(
        (
            '{friend} came out laughing and said, "My own {thing} gave me away."',
            "{friend}笑着走出来说：“是我自己的{thing}出卖了我。”",
        ),
        ("{friend} crept out and laughed.", "{friend}爬了出来，哈哈大笑。"),
    )
    tale.find(
        "hero",
        "thing",
        "spot",
        ("{hero} picked up {thing.full}.", "{hero}捡起了{thing.full}。"),
    )
    tale.give("hero", "thing", "friend")
    tale.feel("both", "happy", "excited")


SHAPES = (
    Shape("a quarrel", _quarrel, "share", "open"),
    Shape("a promise kept", _promise, "gift"),
    Shape("telling the truth", _truth, "fragile", "house"),
    Shape("envy", _envy, "gift", "outdoor"),
    Shape("a new child", _new_child, "share", "class"),
    Shape("alone in the dark", _afraid_of_the_dark, "pet", "dark"),
    Shape("hide-and-seek", _hide_and_seek, "wear", "wood"),
)
