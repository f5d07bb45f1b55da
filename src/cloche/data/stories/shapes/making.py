"""Plots of learning and making."""

from cloche.data.stories.places import TOWER_TOP
from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Tale
from cloche.data.stories.words import FAMILY, TEACHER


def _learning_to_ride(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.own("hero", "thing")
    tale.add_adult(FAMILY)
    tale.tell(
        ("{hero} could not ride it yet.", "{hero}还不会骑。"),
        ("But {hero} had never learned to ride.", "可是{hero}从来没有学过骑车。"),
    )
    tale.tell(
        ('"I will teach you," said {adult}.', "“我来教你。”{adult}说。"),
        ("{adult} held {thing.the} from behind.", "{adult}从后面扶着{thing}。"),
    )
    tale.paragraph()
    tale.tell(
        ("The first time, {hero} fell after two metres.", "第一次，{hero}骑了两米就摔倒了。"),
        (
            "On the first try, {hero} lost balance and tumbled.",
            "第一次，{hero}没掌握好平衡，摔了一跤。",
        ),
    )
    tale.feel("hero", "disappointed", "nervous", "angry")
    tale.tell(
        ('"Everyone falls at first," said {adult}.', "“一开始谁都会摔跤。”{adult}说。"),
        ('"Look ahead, not at your feet," said {adult}.', "“看前面，别看脚。”{adult}说。"),
    )
    tale.tell(
        ("{hero} tried again and again.", "{hero}试了一次又一次。"),
        (
            "The second time went better, and the third time better still.",
            "第二次好一些，第三次更好。",
        ),
    )
    tale.tell(
        (
            "Then {adult} let go, and {hero} rode on alone.",
            "后来{adult}松开了手，{hero}自己骑了起来。",
        ),
        (
            "Suddenly nobody was holding on, and {hero} did not fall.",
            "忽然，没有人扶着了，{hero}也没有摔倒。",
        ),
    )
    tale.tell(
        ('"I can do it!" shouted {hero}.', "“我会了！”{hero}喊道。"),
        ('"Look, I am riding!" shouted {hero}.', "“看，我会骑了！”{hero}喊道。"),
    )
    tale.feel("hero", "proud", "happy", "excited")
    tale.feel("adult", "proud", "glad")


def _new_paint(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.own("hero", "thing")
    tale.cast("colour", tale.other_colour(tale.thing()))
    tale.tell(
        ("It was old, and the paint was coming off.", "它很旧了，漆都快掉光了。"),
        ("{hero} did not like its colour any more.", "{hero}不再喜欢它的颜色了。"),
    )
    tale.add_adult(FAMILY)
    tale.tell(
        (
            '"We still have some {colour} paint," said {adult}.',
            "“我们还有一些{colour}的油漆。”{adult}说。",
        ),
        ("{adult} brought a pot of {colour} paint.", "{adult}拿来了一罐{colour}的油漆。"),
    )
    tale.paragraph()
    tale.tell(
        ("{hero} put on an old shirt and took a brush.", "{hero}穿上一件旧衬衫，拿起了刷子。"),
        ("{hero} spread newspaper on the ground.", "{hero}在地上铺了报纸。"),
    )
    tale.paint(
        "thing",
        (
            "Then {hero} painted {thing.full} {colour}.",
            "然后，{hero}把{thing.full}刷成了{colour}。",
        ),
        (
            "With long strokes, {hero} painted {thing.full} {colour}.",
            "{hero}长长地一笔一笔刷，把{thing.full}刷成了{colour}。",
        ),
    )
    tale.tell(
        ("Soon there was paint on {hero}'s nose as well.", "不久，{hero}的鼻子上也沾了油漆。"),
        ("It had to dry for two hours.", "要晾两个小时才会干。"),
        ("{hero} did not miss a single corner.", "每个角落{hero}都没有漏掉。"),
    )
    tale.paragraph()
    tale.tell(
        ("Now it looked brand new.", "现在它看起来崭新崭新的。"),
        ("Nobody would have recognised it.", "谁也认不出它了。"),
        ('"What a difference!" said {adult}.', "“变化真大！”{adult}说。"),
    )
    tale.feel("hero", "proud", "happy")


def _sandcastle(tale: Tale) -> None:
    tale.begin_together()
    tale.own("hero", "thing")
    tale.cast("spot", TOWER_TOP)
    tale.tell(
        ('"Let us build a castle," said {friend}.', "“我们来堆一座城堡吧。”{friend}说。"),
        ("They wanted to build the biggest castle of all.", "{both.he}想堆一座最大的城堡。"),
    )
    tale.tell(
        ("{friend} dug a ditch, and {hero} piled up wet sand.", "{friend}挖沟，{hero}堆湿沙子。"),
        ("They built four towers and a long wall.", "{both.he}堆了四座塔楼和一道长长的墙。"),
    )
    tale.paragraph()
    tale.tell(
        ("Then a big wave came and washed half of it away.", "这时来了一个大浪，冲走了一半。"),
        ("A dog ran right through the middle of it.", "一只狗从中间跑了过去。"),
    )
    tale.feel("both", "sad", "disappointed", "angry")
    tale.tell(
        (
            '"We will build it again, farther back," said {hero}.',
            "“我们往后退一点，再堆一次。”{hero}说。",
        ),
        ('"The second one will be even better," said {hero}.', "“第二座会更好的。”{hero}说。"),
    )
    tale.tell(
        ("This time they made the walls thicker.", "这一次，{both.he}把墙堆得更厚。"),
        ("They worked until their arms were tired.", "{both.he}一直干到胳膊发酸。"),
    )
    tale.put(
        "hero",
        "thing",
        "spot",
        (
            "At the end {hero} placed {thing.full} {spot}.",
            "最后，{hero}把{thing.full}放在了{spot}。",
        ),
        (
            "To crown it, {hero} put {thing.full} {spot}.",
            "最后一步，{hero}把{thing.full}摆在了{spot}。",
        ),
    )
    tale.feel("both", "proud", "happy")


def _first_concert(tale: Tale) -> None:
    tale.begin()
    tale.own("hero", "thing")
    tale.cast("adult", TEACHER)
    tale.world.arrive(TEACHER, tale.place)
    tale.tell(
        ("In three weeks there would be a concert.", "三个星期后有一场音乐会。"),
        ('"You will play at the concert," said {adult}.', "“你要在音乐会上演奏。”{adult}说。"),
    )
    tale.feel("hero", "nervous", "worried")
    tale.tell(
        ("At first every note sounded wrong.", "一开始，每个音都不对。"),
        ("The neighbours closed their windows.", "邻居们都关上了窗户。"),
        ("The song had many difficult parts.", "这首曲子有很多难的地方。"),
    )
    tale.paragraph()
    tale.tell(
        (
            "{hero} practised with {thing.full} every evening.",
            "每天晚上，{hero}都用{thing.full}练习。",
        ),
        (
            "Day after day, {hero} took out {thing.full} and practised.",
            "日复一日，{hero}拿出{thing.full}来练习。",
        ),
    )
    tale.tell(
        ('"Slowly and clearly," said {adult}.', "“慢一点，清楚一点。”{adult}说。"),
        ('"Listen before you play," said {adult}.', "“先听，再演奏。”{adult}说。"),
    )
    tale.tell(
        ("After two weeks the melody was clear.", "两个星期后，旋律清楚了。"),
        ("Little by little it began to sound like music.", "慢慢地，听起来像音乐了。"),
    )
    tale.paragraph()
    tale.tell(
        ("The big day came, and the hall was full.", "重要的日子到了，大厅里坐满了人。"),
        (
            "On the evening of the concert, {hero.his} hands were cold.",
            "音乐会那天晚上，{hero.his}手冰凉。",
        ),
    )
    tale.tell(
        ("{hero} made only one mistake, and nobody noticed.", "{hero}只错了一个音，谁也没有发现。"),
        (
            "{hero} played the whole song without a mistake.",
            "{hero}一个音也没有错，演奏了整首曲子。",
        ),
    )
    tale.tell(
        ("The people clapped for a long time.", "人们鼓掌鼓了很久。"),
        ('"Bravo!" called the audience.', "“太棒了！”观众喊道。"),
    )
    tale.feel("hero", "proud", "happy", "relieved")


def _homemade_gift(tale: Tale) -> None:
    tale.without_age()
    tale.begin()
    tale.add_adult(FAMILY)
    tale.tell(
        (
            "Soon it would be {adult}'s birthday, but {hero} had no money.",
            "{adult}的生日快到了，可是{hero}没有钱。",
        ),
        ("{hero} wanted to surprise {adult}.", "{hero}想给{adult}一个惊喜。"),
    )
    tale.tell(
        ("In a chest there were nails, wood and string.", "木箱里有钉子、木头和绳子。"),
        ("{hero} collected old boards and a few screws.", "{hero}收集了一些旧木板和几颗螺丝。"),
    )
    tale.tell(
        ("{hero} measured, sawed and hammered.", "{hero}又量又锯又敲。"),
        ("{hero} hit {hero.his} thumb only once.", "{hero}只有一次砸到了大拇指。"),
        ("{hero} glued and polished for days.", "{hero}又粘又磨，忙了好几天。"),
    )
    tale.maybe(
        0.6,
        ("Some parts were crooked, but it held together.", "有些地方歪歪的，但是很结实。"),
        ("It took much longer than {hero} had thought.", "花的时间比{hero}想的长多了。"),
    )
    tale.own(
        "hero",
        "thing",
        ("At last {hero} had made {thing.a}.", "最后，{hero}做成了{thing.a}。"),
        ("When all was done, {hero} had {thing.a}.", "全部做好以后，{hero}有了{thing.a}。"),
    )
    tale.paragraph()
    tale.tell(
        ('"Did you make this all by yourself?" asked {adult}.', "“这是你自己做的吗？”{adult}问。"),
        ('"I made it for you," said {hero}.', "“这是我给您做的。”{hero}说。"),
    )
    tale.give("hero", "thing", "adult")
    tale.feel("adult", "surprised", "happy", "proud")
    tale.tell(
        ('"No shop has one like this," said {adult}.', "“哪家店里都买不到这样的。”{adult}说。"),
        ("{adult} gave {hero} a big hug.", "{adult}紧紧地拥抱了{hero}。"),
    )
    tale.feel("hero", "happy", "proud")


def _learning_to_read(tale: Tale) -> None:
    tale.begin()
    tale.add_spot()
    tale.lay("thing", "spot")
    tale.add_adult(FAMILY)
    tale.take(
        "hero",
        "thing",
        ("{hero} found {thing.a} {spot}.", "{hero}在{spot}找到了{thing.a}。"),
        ("{hero} pulled out {thing.a} that lay {spot}.", "{hero}抽出了{spot}的{thing.a}。"),
    )
    tale.tell(
        ("It was full of long words.", "里面有很多难懂的词。"),
        ("The letters were very small.", "里面的字很小。"),
    )
    tale.feel("hero", "disappointed", "bored")
    tale.paragraph()
    tale.tell(
        (
            '"Read one line, then I will read one," said {adult}.',
            "“你读一行，我读一行。”{adult}说。",
        ),
        ('"Shall I help you?" asked {adult}.', "“要我帮你吗？”{adult}问。"),
    )
    tale.tell(
        ("{hero} put a finger under every word.", "{hero}用手指指着每一个词。"),
        ("At first {hero} read very slowly.", "一开始，{hero}读得很慢。"),
    )
    tale.tell(
        ("It was about a dragon who was afraid of mice.", "书里讲的是一条怕老鼠的龙。"),
        ("It was about a king who lived on the moon.", "书里讲的是一位住在月亮上的国王。"),
        ("It was about a sailor and a talking whale.", "书里讲的是一个水手和一条会说话的鲸鱼。"),
    )
    tale.tell(
        ("They laughed so much that they had to stop.", "{hero}和{adult}笑得停了下来。"),
        ('"Just one more page!" begged {hero}.', "“再读一页嘛！”{hero}央求道。"),
    )
    tale.tell(
        ("On the last page, {hero} read everything alone.", "到最后一页，{hero}全是自己读的。"),
        ("By the end, {hero} no longer needed help.", "到后来，{hero}不再需要帮助了。"),
    )
    tale.feel("hero", "proud", "happy")


SHAPES = (
    Shape("learning to ride", _learning_to_ride, "ride", "open"),
    Shape("new paint", _new_paint, "paint", "home"),
    Shape("the castle of sand", _sandcastle, "find", "shore"),
    Shape("the first concert", _first_concert, "music", "music"),
    Shape("a homemade present", _homemade_gift, "handmade", "work"),
    Shape("learning to read", _learning_to_read, "read", "books"),
)
